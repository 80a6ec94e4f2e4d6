import ast
import ctypes
import dataclasses
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import linecache
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tokenize
import traceback
import types


class Fault(Exception):
    """What is told to the user as it is."""


def plain(value, where, result=False):
    """A value as JSON holds it.

    A configuration's values are its identity and become options: what JSON cannot hold becomes
    its text, as the Python package wrote it on a command line. A result must be JSON as it is.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if result or abs(value) < 2**63 else str(int(value))
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if not result:
            return str(float(value))
        print(f"note: {where} is {float(value)}; result.json has null there", file=sys.stderr)
        return None
    if members(value) is not None:
        return {
            key_text(key, where, result): plain(item, f"{where}.{key}", result)
            for key, item in members(value).items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]", result) for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, where, result) for item in value), key=json.dumps)
    for method in ("tolist", "item"):  # numpy's arrays and scalars, torch's tensors
        if callable(getattr(value, method, None)):
            try:
                return plain(getattr(value, method)(), where, result)
            except (TypeError, ValueError, RuntimeError):
                continue
    kind = f"{type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
    if result:
        raise Fault(f"the result's {where} is a {kind}, which JSON does not hold; return a "
                    "number, a text, true or false, a list or a dictionary of those")
    text = getattr(value, "__qualname__", None) or str(value)
    if " at 0x" in text or "<lambda>" in text or "<locals>" in text:
        raise Fault(f"{where} is {value!r}: it has no text that is the same each time, so the "
                    "configuration could not be told from others; give its name instead")
    return text


def members(value):
    """The keys and values of a dictionary, or of an object that is one in all but name."""
    if isinstance(value, dict):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        return vars(value)
    return None


def key_text(key, where, result):
    if isinstance(key, str):
        return str.__str__(key)
    if result and not isinstance(key, (int, float)):
        raise Fault(f"the result's {where} has the key {key!r}, which is no text")
    return str(key)


def same(a, b):
    """Whether two JSON values are equal; in Python itself, True equals 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def is_plain(value):
    """Whether a value is what JSON gives back for it."""
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


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


def with_vbll_head(config):
    """The configuration of a VBLL head, with the name of the head."""
    config = dict(members(config))
    for key in ("head", "loss_fn", "loss_function"):
        if config.get(key) not in (None, VBLL):
            raise Fault(f"run_vbll_training_from_config trains VBLL heads, and the configuration "
                        f"says {key}={config[key]!r}; remove it")
        config.pop(key, None)
    config["head"] = VBLL
    return config


def run_vbll_training_from_config(config):
    """Runs bllarse-finetune with a configuration of a VBLL head; returns its result."""
    return Training([], with_vbll_head(config)).run()


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


VBLL = "VBLL"

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
                # A signal to this group would reach the process twice, and a late second one ends it at once.
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
                if run.get("vbll"):
                    config = with_vbll_head(config)
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
        return {"kind": "training", "vbll": True}
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
