#pragma once
#include "BllarsePlatform.h"
#include "BllarseProducts.h"
