extension PythonProgram {
  /// `read PATH NAME`: prints what a module says as one JSON object.
  static let reader = #"""
    def read(path, shown):
        """Prints what the module says: its configurations, and what runs one."""
        out, sys.stdout = sys.stdout, sys.stderr  # What the module prints is no part of the answer.
        try:
            answer = answer_of(path, shown)
            status = 0
        except (Exception, SystemExit) as error:
            answer, status = {"error": explain(error)}, 65
        json.dump(answer, out, allow_nan=False)
        out.flush()
        sys.exit(status)


    def answer_of(path, shown):
        Sweep.open(path, shown)
        Sweep.load()
        configs = Sweep.configs()
        tree = ast.parse(Sweep.text, path)
        files = local_files(os.path.dirname(path), Sweep.text)
        run = what_runs(tree, Sweep.module)
        plain_configs = []
        for index, config in enumerate(configs):
            try:
                if run["kind"] == "training":
                    config = with_tune_mode(config, run.get("finetuning_type"))
                plain_configs.append({
                    key_text(key, "", False): plain(value, f"configuration {index}: '{key}'")
                    for key, value in members(config).items()
                })
            except Fault as fault:
                raise Fault(f"{shown}: {fault}") from None
        return {
            "configs": plain_configs,
            "run": run,
            "slurm": slurm(tree, Sweep.module),
            "main": os.path.basename(path),
            "files": [{"name": os.path.basename(path), "text": Sweep.text}]
            + [{"name": name, "text": text} for name, text in files.items()],
            "fingerprint": fingerprint(tree, files),
            "lines": key_lines(tree),
            "notes": missing_later(tree) if run["kind"] == "own" else [],
        }


    # --- What run() is


    def what_runs(tree, module):
        """What runs a configuration: bllarse-finetune, a script of the user's, or run() itself."""
        run = getattr(module, "run", None)
        if run is None:
            return {"kind": "none"}
        if not callable(run):
            raise Fault(f"{Sweep.shown}: 'run' is a {type(run).__name__}, not a function")
        own = {"kind": "own"}
        if is_stand_in(run, "run_training_from_config"):
            return {"kind": "training"}
        code = getattr(run, "__code__", None)
        if code is None or code.co_filename != Sweep.path:
            return own
        function = next((node for node in tree.body if isinstance(node, ast.FunctionDef)
                         and node.name == "run" and not node.decorator_list
                         and node.lineno == code.co_firstlineno), None)
        call = function and only_call(function)
        if call is None:
            return own
        own["line"] = call.lineno
        try:
            names = Names(function, module)
            return handed_on(names.value(call.func), call, names) or own
        except LookupError:
            return own


    def only_call(function):
        """The one call that the function consists of, beside its description and its imports."""
        given = function.args
        others = given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg
        if len(given.args) != 1 or others:
            return None
        body = [
            node for node in function.body
            if not (isinstance(node, ast.ImportFrom) and node.module in STAND_INS)
        ]
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        if len(body) != 1 or not isinstance(body[0], (ast.Expr, ast.Return)):
            return None
        return body[0].value if isinstance(body[0].value, ast.Call) else None


    class Names:
        """What a function's names stand for, as far as that is certain before it runs."""

        def __init__(self, function, module):
            self.parameter = function.args.args[0].arg
            self.names = dict(module.__dict__)
            for node in function.body:
                if isinstance(node, ast.ImportFrom):
                    imported = importlib.import_module(node.module)
                    for alias in node.names:
                        if f"{node.module}.{alias.name}" in STAND_INS:
                            importlib.import_module(f"{node.module}.{alias.name}")
                        if hasattr(imported, alias.name):
                            self.names[alias.asname or alias.name] = getattr(imported, alias.name)
            self.names.pop(self.parameter, None)

        def value(self, node):
            """A constant, or what a name stands for; LookupError for anything else."""
            if isinstance(node, ast.Constant):
                return node.value
            if isinstance(node, ast.Name):
                return self.names[node.id]
            if isinstance(node, ast.Attribute):
                owner = self.value(node.value)
                if isinstance(owner, types.ModuleType) and hasattr(owner, node.attr):
                    return getattr(owner, node.attr)
            raise LookupError


    def handed_on(called, call, names):
        """What a run() does that only hands its configuration on; None if it does anything else."""
        words = [(None, node) for node in call.args] + [(k.arg, k.value) for k in call.keywords]

        def is_config(word, name):
            if word[0] not in (None, name) or not isinstance(word[1], ast.Name):
                return False
            return word[1].id == names.parameter

        if is_stand_in(called, "run_training_from_config"):
            if not words or not is_config(words[0], "config") or len(words) > 2:
                return None
            if len(words) == 1:
                return {"kind": "training"}
            if words[1][0] not in (None, "finetuning_type"):
                return None
            finetuning_type = names.value(words[1][1])
            if finetuning_type is not None and not isinstance(finetuning_type, str):
                raise Fault(f"{Sweep.shown}:{call.lineno}: finetuning_type is a text, such as "
                            f"\"last_layer\"; found {finetuning_type!r}")
            return {"kind": "training", "finetuning_type": finetuning_type}
        if is_stand_in(called, "run_vbll_training_from_config"):
            if len(words) != 1 or not is_config(words[0], "config"):
                return None
            return {"kind": "refused", "reason": f"{Sweep.shown}:{call.lineno}: {NO_VBLL}"}
        if is_stand_in(called, "run_script_from_config"):
            if len(words) != 2 or not is_config(words[1], "config"):
                return None
            if words[0][0] not in (None, "script_name"):
                return None
            name = names.value(words[0][1])
            if not isinstance(name, str):
                return None
            path, places = find_script(name)
            if path is not None:
                return {"kind": "own", "script": path}
            if name in BUILT_IN_SCRIPTS:
                return {"kind": "training", "script": name, "words": BUILT_IN_SCRIPTS[name]}
            reason = f"{Sweep.shown}:{call.lineno}: {missing_script(name, places)}"
            return {"kind": "refused", "reason": reason}
        return None


    # --- What else the file says


    def slurm(tree, module):
        """The module's SLURM = {…}, with its line."""
        found = None
        for name in ("SLURM", "slurm"):
            value = getattr(module, name, None)
            if value is None or isinstance(value, (types.ModuleType, types.FunctionType, type)):
                continue
            line = assignments(tree).get(name, [None])[0]
            where = f"{Sweep.shown}:{line.lineno}" if line else Sweep.shown
            if not isinstance(value, dict):
                raise Fault(f"{where}: '{name}' is a dictionary of submit's options; found a "
                            f"{type(value).__name__}")
            if found is not None:
                raise Fault(f"{where}: the options of submit are given twice, as SLURM and as "
                            "slurm; keep one")
            try:
                found = {"options": plain(value, name), "line": line.lineno if line else 1}
            except Fault as fault:
                raise Fault(f"{where}: {fault}") from None
        return found


    def assignments(tree):
        """The nodes at the top of the module that give a name its value."""
        nodes = {}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                nodes.setdefault(node.name, []).append(node)
            elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            nodes.setdefault(name.id, []).append(node)
        return nodes


    def fingerprint(tree, files):
        """Stands for the code of run(): itself, what it names, and the modules beside the sweep."""
        nodes, seen, waiting = assignments(tree), set(), ["run"]
        lines = Sweep.text.splitlines()
        texts = [f"{name}\0{text}" for name, text in sorted(files.items())]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in nodes:
                continue
            seen.add(name)
            for node in nodes[name]:
                texts.append("\n".join(lines[node.lineno - 1:node.end_lineno]))
                waiting += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        return hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()


    def key_lines(tree):
        """Where each key of a dictionary is first written: a line and a column, counted from 1."""
        places = {}

        def add(key, node):
            place = [node.lineno, node.col_offset + 1]
            if key not in places or place < places[key]:
                places[key] = place

        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for word in node.keywords:
                    if word.arg:
                        add(word.arg, word if hasattr(word, "lineno") else word.value)
            elif isinstance(node, ast.Dict):
                for key in node.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        add(key.value, key)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                key = node.slice
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    add(key.value, key)
        return places


    def missing_later(tree):
        """What functions import when they run, and this Python does not have."""
        notes, seen = [], set()

        def look(node, inside):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inside = True
            elif isinstance(node, ast.Try):
                inside = False  # The file itself says what to do without it.
            elif inside and isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                    [node.module] if node.level == 0 else [])
                for name in names:
                    top = name.split(".")[0]
                    if top not in seen and top not in STAND_INS and not_found(top):
                        seen.add(top)
                        notes.append(f"{Sweep.shown}:{node.lineno}: '{top}' is imported when run() "
                                     f"is called, and is not in {sys.executable}")
            for child in ast.iter_child_nodes(node):
                look(child, inside)

        look(tree, False)
        return notes


    def not_found(name):
        if name in sys.modules:
            return False
        try:
            return importlib.util.find_spec(name) is None
        except (ImportError, ValueError):
            return True

    """#
}
