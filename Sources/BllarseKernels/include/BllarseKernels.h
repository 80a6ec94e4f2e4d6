#pragma once
#include "BllarsePlatform.h"
