extension PythonProgram {
  /// `run INDEX`: runs one configuration of a frozen sweep.
  static let runner = #"""
    class FrozenFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        """Imports the modules beside the sweep as they were when it was frozen."""

        def __init__(self, folder, texts):
            self.folder, self.texts = folder, texts

        def find_spec(self, name, path=None, target=None):
            stem = name.replace(".", "/")
            for file in (stem + "/__init__.py", stem + ".py"):
                if file in self.texts:
                    origin = os.path.join(self.folder, file)
                    is_package = file.endswith("/__init__.py")
                    spec = importlib.machinery.ModuleSpec(
                        name, self, origin=origin, is_package=is_package)
                    spec.has_location = True
                    if is_package:
                        spec.submodule_search_locations = [os.path.dirname(origin)]
                    return spec
            return None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            path = module.__spec__.origin
            text = self.texts[os.path.relpath(path, self.folder)]
            linecache.cache[path] = (len(text), None, text.splitlines(True), path)
            exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)


    def run(index):
        """Runs one configuration of a frozen sweep."""
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        # SLURM's warning before a time limit: whoever cannot checkpoint works on.
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        try:
            returned = result_of(index)
        except TrainingFailed as failure:  # Its last words are on standard error.
            sys.exit(failure.returncode if failure.returncode > 0 else 128 - failure.returncode)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise
            returned = None
        except Exception as error:
            sys.exit(report(error))
        try:
            write_result(returned)
        except Fault as fault:
            sys.exit(str(fault))


    def report(error):
        """Prints where an exception came from; returns its last line."""
        if isinstance(error, Fault):
            return str(error)
        frames, own = error.__traceback__, own_frames(error)
        while own and frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
        if isinstance(error, ModuleNotFoundError):
            return explain(error)
        where = f" ({os.path.basename(own[-1].filename)}:{own[-1].lineno})" if own else ""
        return one_line(error) + where


    def result_of(index):
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "source.json"), encoding="utf-8") as file:
            source = json.load(file)
        texts = {}
        for name in source["files"]:
            with open(os.path.join(here, "files", name), encoding="utf-8", newline="") as file:
                texts[name] = file.read()
        path = source["path"]
        directory = os.path.dirname(os.path.dirname(here))
        entry = manifest_entry(directory, index)
        with open(os.path.join(directory, "sweep.json"), encoding="utf-8") as file:
            changes = json.load(file).get("set")
        Sweep.open(path, path, texts.pop(source["main"]))
        sys.path.insert(0, os.path.join(here, "files"))  # For the processes that run() starts.
        sys.meta_path.insert(0, FrozenFinder(os.path.dirname(path), texts))
        Sweep.load()
        return Sweep.module.run(chosen(entry, changes))


    def manifest_entry(directory, index):
        """The configuration as it was frozen."""
        folder = os.path.join(directory, "manifest")
        starts = sorted(int(name[:-6]) for name in os.listdir(folder) if name.endswith(".jsonl"))
        start = max((start for start in starts if start <= index), default=None)
        if start is not None:
            with open(os.path.join(folder, f"{start:09}.jsonl"), encoding="utf-8") as file:
                for line in itertools.islice(file, index - start, index - start + 1):
                    return json.loads(line)
        raise Fault(f"there is no configuration {index} in {folder}")


    def chosen(entry, changes):
        """The configuration as the module makes it, with its own types, and the values of --set.

        One that the module makes no more is made of its frozen values.
        """
        configs = Sweep.configs()
        wanted = entry["parameters"]
        for config in configs:
            if same(plain(config, "configuration"), wanted):
                return config
        for config in configs:
            if isinstance(config, dict) and changes:
                changed = {**config, **changes}
                if same(plain(changed, "configuration"), wanted):
                    return changed
        typed = next((config for config in configs if not is_plain(config)), None)
        if typed is None:
            return wanted
        raise Fault(f"{Sweep.path}: create_configs() does not make configuration {entry['index']} "
                    f"({json.dumps(wanted)[:300]}), and its values may have had types of their own "
                    f"(others have: {type_note(typed)}); give create_configs() plain values")


    def type_note(config):
        if not isinstance(config, dict):
            return f"a configuration is a {type(config).__name__}"
        return next(f"'{key}' is a {type(value).__name__}" for key, value in config.items()
                    if not is_plain(value) or not isinstance(key, str))


    def write_result(returned):
        """Writes result.json, whole or not at all."""
        output = os.environ.get("BLLARSE_OUTPUT_DIR")
        value = members(returned)
        path = os.path.join(output or "", "result.json")
        if value is None:
            if returned is not None:
                print(f"note: run() returned a {type(returned).__name__}; only a dictionary "
                      "becomes result.json", file=sys.stderr)
            if output and os.path.exists(path):
                return  # The run has written it itself.
            value = {}
        text = json.dumps({
            key_text(key, "dictionary", True): plain(item, f"'{key}'", result=True)
            for key, item in value.items()
        }, indent=2, allow_nan=False)
        if not output:
            print(text)
            return
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


    if __name__ == "__main__":
        if sys.argv[1] == "read":
            read(sys.argv[2], sys.argv[3])
        else:
            run(int(sys.argv[2]))

    """#
}
