extension PythonProgram {
  /// The sweep's module: how it is executed, its faults, and the modules that lie beside it.
  static let module = #"""
    class Sweep:
        """The sweep's module: its path, its text, and the modules beside it."""

        path = ""
        text = ""
        module = None
        shown = ""

        @classmethod
        def open(cls, path, shown, text=None):
            cls.path, cls.shown, cls.text = path, shown, text
            if text is None:
                try:
                    with tokenize.open(path) as file:
                        cls.text = file.read()
                except (SyntaxError, UnicodeDecodeError) as error:
                    raise Fault(f"{shown}: {error}") from None
            if not getattr(sys.flags, "safe_path", False):
                del sys.path[0]  # This program's own folder.
            sys.path[0:0] = [os.path.dirname(path), ""]
            sys.argv = [path]
            sys.meta_path.append(StandIns())

        @classmethod
        def load(cls):
            """Executes the module; faults name the line of the file."""
            stem = os.path.splitext(os.path.basename(cls.path))[0]
            name = stem if stem.isidentifier() and stem not in sys.modules else "bllarse_sweep_file"
            module = cls.module = types.ModuleType(name)
            module.__file__ = cls.path
            module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=cls.path)
            sys.modules[name] = module
            # Tracebacks show the text that runs, not what the file holds by now.
            linecache.cache[cls.path] = (len(cls.text), None, cls.text.splitlines(True), cls.path)
            exec(compile(cls.text, cls.path, "exec", dont_inherit=True), module.__dict__)
            if not callable(getattr(module, "create_configs", None)):
                raise Fault(f"{cls.shown}: the module has no create_configs(), which returns the "
                            "list of configurations")

        @classmethod
        def configs(cls):
            configs = cls.module.create_configs()
            if isinstance(configs, (str, bytes, dict)) or not hasattr(configs, "__iter__"):
                raise Fault(f"{cls.shown}: create_configs() must return a list of configurations; "
                            f"it returned a {type(configs).__name__}")
            configs = list(configs)
            for index, config in enumerate(configs):
                if members(config) is None:
                    raise Fault(f"{cls.shown}: each configuration must be a mapping of options; "
                                f"number {index} of create_configs() is a {type(config).__name__}")
            return configs


    # --- Faults


    def own_frames(error):
        """The frames of a traceback whose code lies in the sweep's folder, the deepest last."""
        folder = os.path.join(os.path.dirname(Sweep.path), "")
        return [
            frame for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.startswith(folder) and "site-packages" not in frame.filename
        ]


    def place(error):
        if isinstance(error, SyntaxError) and error.filename:
            name, line = error.filename, error.lineno
        else:
            frames = own_frames(error)
            if not frames:
                return Sweep.shown
            name, line = frames[-1].filename, frames[-1].lineno
        return f"{Sweep.shown if name == Sweep.path else name}:{line}"


    def one_line(error):
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        return ": ".join(part for part in (type(error).__name__, " ".join(text.split())) if part)


    def explain(error):
        """A fault of the user's module in one line."""
        if isinstance(error, Fault):
            return str(error)
        if isinstance(error, SystemExit):
            return f"{place(error)}: the module ended Python itself: sys.exit({error.code!r})"
        if isinstance(error, ImportError) and error.name:
            return f"{place(error)}: {missing_import(error)}"
        return f"{place(error)}: {one_line(error)}"


    def missing_import(error):
        python = sys.executable
        other = "or choose the Python that has it with --venv DIR or --python PATH"
        if error.name in STAND_INS and error.name in sys.modules:
            names = ", ".join(STAND_INS[error.name])
            return (f"{one_line(error)}; the Python package bllarse is not in {python}, and what "
                    f"stands in for {error.name} has: {names or 'nothing'}; install the package "
                    f"there, {other}")
        if not isinstance(error, ModuleNotFoundError):
            return one_line(error)
        top = error.name.split(".")[0]
        if top == "bllarse":
            return (f"there is no Python module '{error.name}' in {python}; of the Python package "
                    "bllarse only bllarse.tools.adapters and bllarse.tools.config are replaced "
                    f"where it is missing; install the package there, {other}")
        return (f"there is no Python module '{error.name}' in {python}; install it there "
                f"({python} -m pip install {top}), {other}")


    # --- The modules beside the sweep


    def local_files(folder, text):
        """The modules that the sweep imports from its own folder: texts by their paths in it."""
        files, total, waiting = {}, 0, [text]
        while waiting:
            for top in sorted(imported(waiting.pop())):
                for path in module_files(folder, top):
                    name = os.path.relpath(path, folder)
                    if name in files or path == Sweep.path:
                        continue
                    with tokenize.open(path) as file:
                        files[name] = file.read()
                    waiting.append(files[name])
                    total += len(files[name])
                    if total > 20_000_000:
                        raise Fault(f"{Sweep.shown}: the modules that it imports from {folder} "
                                    "have more than 20 MB; keep what it needs in a smaller folder")
        return files


    def imported(text):
        """The first parts of the names of all modules that a text imports, wherever in it."""
        try:
            nodes = list(ast.walk(ast.parse(text)))
        except SyntaxError:  # Told when it is imported, if it is.
            return set()
        names = [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        names += [
            node.module for node in nodes
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module
        ]
        return {name.split(".")[0] for name in names}


    def module_files(folder, top):
        package = os.path.join(folder, top)
        if os.path.isfile(os.path.join(package, "__init__.py")):
            for parent, folders, names in os.walk(package):
                folders[:] = sorted(f for f in folders if not f.startswith((".", "__pycache__")))
                yield from (os.path.join(parent, n) for n in sorted(names) if n.endswith(".py"))
        elif os.path.isfile(package + ".py"):
            yield package + ".py"

    """#
}
