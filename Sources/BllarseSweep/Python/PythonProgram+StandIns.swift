extension PythonProgram {
  /// What stands in for the Python package where it is not installed.
  static let standIns = #"""
    def options(config, single_dash=False):
        """A configuration as the Python package spelled it on a command line."""
        words = []
        for key, value in members(config).items():
            key = str(key)
            option = ("-" if single_dash and len(key) == 1 else "--") + key.replace("_", "-")
            if value is None or value is False:
                continue
            if value is True:
                words.append(option)
            elif single_dash and str(value).startswith("-"):
                words.append(f"{option}={value}")
            else:
                words += [option, str(value)]
        return words


    def with_tune_mode(config, finetuning_type):
        """The configuration with what run() says beside it."""
        config = dict(members(config))
        if finetuning_type is None:
            return config
        for key in ("tune_mode", "finetuning_type"):
            if config.get(key) not in (None, finetuning_type):
                raise Fault(f"run() says finetuning_type={finetuning_type!r}, the configuration "
                            f"{key}={config[key]!r}; remove one of them")
        config.pop("finetuning_type", None)
        config["tune_mode"] = finetuning_type
        return config


    def run_training_from_config(config, finetuning_type=None):
        """Runs bllarse-finetune with a configuration; returns its result."""
        return Training([], with_tune_mode(config, finetuning_type)).run()


    def run_script_from_config(script_name, config):
        """Runs a script of the user's with a configuration's options, as the Python package did."""
        path, places = find_script(script_name)
        if path is not None:
            return run_script(path, config)
        words = BUILT_IN_SCRIPTS.get(script_name)
        if words is None:
            raise Fault(missing_script(script_name, places))
        return Training(words, config).run()


    def run_vbll_training_from_config(config):
        """Stands for the Python package's training of VBLL heads."""
        raise Fault(NO_VBLL)


    def get_config_grid(create_config, values_dict):
        """What create_config makes of every combination of the values, the last key fastest."""
        keys = list(values_dict)
        return [
            create_config(**dict(zip(keys, values)))
            for values in itertools.product(*(values_dict[key] for key in keys))
        ]


    def get_module_from_source_path(source_path):
        """The module that a file holds."""
        name = os.path.splitext(os.path.basename(source_path))[0]
        spec = importlib.util.spec_from_file_location(name, source_path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


    NO_VBLL = "run_vbll_training_from_config: VBLL heads do not exist yet"

    # The scripts that bllarse-finetune does where they are not on the machine.
    BUILT_IN_SCRIPTS = {"finetuning.py": [], "roberta_mnli.py": ["text"]}

    STAND_INS = {
        "bllarse": {},
        "bllarse.tools": {},
        "bllarse.tools.adapters": {
            "run_training_from_config": run_training_from_config,
            "run_script_from_config": run_script_from_config,
            "run_vbll_training_from_config": run_vbll_training_from_config,
        },
        "bllarse.tools.config": {"get_config_grid": get_config_grid},
        "bllarse.tools.module": {"get_module_from_source_path": get_module_from_source_path},
    }


    class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        """Finds what the Python package has where the package itself is missing.

        It is the last finder: it is asked only for modules that no other one has.
        """

        def find_spec(self, name, path=None, target=None):
            if name not in STAND_INS:
                return None
            is_package = name in ("bllarse", "bllarse.tools")
            return importlib.machinery.ModuleSpec(name, self, is_package=is_package)

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.__dict__.update(STAND_INS[module.__name__])


    def is_stand_in(value, name):
        return value is STAND_INS["bllarse.tools.adapters"][name]


    # --- Scripts


    def find_script(name):
        """The path of scripts/NAME, or None, and where it was looked for."""
        root = os.environ.get("BLLARSE_REPO_ROOT")
        if root:
            places = [os.path.abspath(root)]
        else:
            places = [os.path.dirname(Sweep.path)]
            while os.path.dirname(places[-1]) != places[-1]:
                places.append(os.path.dirname(places[-1]))
            places.append(os.getcwd())
        for place in places:
            path = os.path.join(place, "scripts", name)
            if os.path.isfile(path):
                return path, places
        return None, places


    def missing_script(name, places):
        if os.environ.get("BLLARSE_REPO_ROOT"):
            looked = f"in {places[0]}, which BLLARSE_REPO_ROOT names"
        else:
            looked = f"in {places[0]}, the folders above it, and {places[-1]}"
        return (f"there is no script scripts/{name}: looked for it {looked}; "
                "set BLLARSE_REPO_ROOT to the folder that has scripts/")


    def run_script(path, config):
        """Imports a script and calls its parts, or runs it as a program if it has none of them."""
        words = options(config)
        with tokenize.open(path) as file:
            tree = ast.parse(file.read(), path)
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if not {"build_argparser", "main"} <= names:
            sys.argv = [path, *words]
            sys.path.insert(0, os.path.dirname(path))
            runpy.run_path(path, run_name="__main__")
            return None
        sys.path.append(os.path.dirname(path))
        script = get_module_from_source_path(path)
        arguments = script.build_argparser().parse_args(words)
        configs = script.build_configs(arguments) if hasattr(script, "build_configs") else ()
        return script.main(arguments, *configs)


    # --- bllarse-finetune


    class TrainingFailed(subprocess.CalledProcessError):
        """bllarse-finetune ended with an error, which it has told itself."""


    class Training:
        """A process of bllarse-finetune within a run()."""

        count = 0

        def __init__(self, words, config):
            name = "bllarse-finetune"
            program = os.environ.get("BLLARSE_FINETUNE_EXECUTABLE") or shutil.which(name)
            if program is None:
                raise Fault(f"there is no program {name}: not beside bllarse-sweep and not in PATH")
            self.process = None
            self.received = []
            self.command = [program, *words, *options(config, single_dash=True)]
            self.output = members(config).get("output")
            if self.output is not None:
                return
            # Each of several trainings of one run() has a folder of its own.
            Training.count += 1
            self.output = os.environ.get("BLLARSE_OUTPUT_DIR") or os.getcwd()
            if Training.count > 1:
                self.output = os.path.join(self.output, f"training-{Training.count}")
            os.makedirs(self.output, exist_ok=True)
            self.command += ["--output", self.output]
            begun = any(name.startswith("checkpoint") for name in os.listdir(self.output))
            if begun and os.environ.get("BLLARSE_RESUME_DIR"):
                self.command += ["--resume", self.output]

        def run(self):
            """Waits for the process; signals go on to it."""
            earlier = {}
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                try:
                    earlier[number] = signal.signal(number, self.forward)
                except ValueError:  # Only the main thread may; others leave signals alone.
                    break
            try:
                library = ctypes.CDLL(None)

                def prepare():
                    # A signal to this group would reach the process twice, and twice means at once.
                    os.setpgid(0, 0)
                    # PR_SET_PDEATHSIG: it must not outlive this one.
                    library.prctl(1, signal.SIGKILL)

                self.process = subprocess.Popen(self.command, preexec_fn=prepare)
                for number in self.received:
                    self.process.send_signal(number)
                code = self.process.wait()
            finally:
                for number, handler in earlier.items():
                    signal.signal(number, handler)
            if code == 75:
                sys.exit(75)
            if code < 0 and -code in self.received:
                signal.signal(-code, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
            if code != 0:
                raise TrainingFailed(code, self.command)
            with open(os.path.join(self.output, "result.json"), encoding="utf-8") as file:
                return json.load(file)

        def forward(self, number, frame):
            self.received.append(number)
            if self.process is not None:
                self.process.send_signal(number)

    """#
}
