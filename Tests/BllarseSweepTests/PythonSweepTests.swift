import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseSweep

@Suite("Python sweeps")
struct PythonSweepTests {
  let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private func read(_ text: String) throws -> SweepFile {
    try SweepReader().read(folder.write("sweep.py", Array(text.utf8)))
  }

  /// A module with two configurations and this end.
  private func module(_ end: String, imports: String = "") -> String {
    """
    \(imports)
    KIND = "last_layer"
    def create_configs():
        return [dict(seed=seed, batch_size=64) for seed in (0, 1)]
    \(end)
    """
  }

  private static let training = "from bllarse.tools.adapters import run_training_from_config\n"

  @Test(
    "run that only hands its configuration on is bllarse-finetune",
    arguments: [
      "", "def run(config): run_training_from_config(config)",
      "def run(c):\n    'Describes itself.'\n    return run_training_from_config(config=c)",
      "run = run_training_from_config",
      "def run(config):\n    from bllarse.tools.adapters import run_training_from_config as go\n    go(config)",
      "from bllarse.tools import adapters\ndef run(config): adapters.run_training_from_config(config)",
      "from bllarse.tools.adapters import run_script_from_config\ndef run(config): run_script_from_config('finetuning.py', config)",
    ])
  func handedOn(run: String) throws {
    let file = try read(module(run, imports: Self.training))
    #expect(!file.runsItself && file.program == ProgramDescription())
    #expect(file.keys == ["seed", "batch_size"])
  }

  @Test(
    "the type of fine-tuning that run names becomes the tune mode",
    arguments: [
      "finetuning_type='last_layer'", "'last_layer'", "finetuning_type=KIND", "KIND",
    ])
  func tuneMode(argument: String) throws {
    let file = try read(
      module("def run(c): run_training_from_config(c, \(argument))", imports: Self.training))
    #expect(!file.runsItself)
    let configuration = try Expansion(file).configuration(at: 1)
    #expect(configuration.arguments().suffix(2) == ["--tune-mode", "last_layer"])
    let without = try read(module("", imports: Self.training))
    #expect(try Expansion(without).configuration(at: 1).hash != configuration.hash)
  }

  @Test(
    "any other run is the user's own",
    arguments: [
      "def run(config): print(config)", "run = print",
      "def run(config):\n    print(config)\n    run_training_from_config(config)",
      "def run(config): run_training_from_config({**config, 'seed': 3})",
      "def run(config, more=1): run_training_from_config(config)",
      "def run_training_from_config(c): pass\ndef run(config): run_training_from_config(config)",
      "def run(config): run_training_from_config(config, finetuning_type=config['x'])",
      "def wrap(f): return f\n@wrap\ndef run(config): run_training_from_config(config)",
      "class Run:\n    def __call__(self, config): pass\nrun = Run()",
    ])
  func own(run: String) throws {
    let file = try read(module(run, imports: Self.training))
    #expect(file.runsItself && file.program.command == PythonProgram.words)
    #expect(file.program.outputOption == nil && !file.program.describesItself)
    // What the package's training takes and what a run() takes are different things.
    let handedOn = try read(module("", imports: Self.training))
    #expect(
      try Expansion(file).configuration(at: 0).hash
        != Expansion(handedOn).configuration(at: 0).hash)
  }

  @Test("values of Python become JSON, and texts are never templates")
  func values() throws {
    let file = try read(
      """
      import collections, enum, pathlib
      Point = collections.namedtuple("Point", "a b")
      class Kind(enum.IntEnum):
          one = 1
      def create_configs():
          return [dict(pair=(1, 2.5), path=pathlib.Path("a/b"), big=2**70, inf=float("inf"), ref="${x}",
                       none=None, kind=Kind.one, whole=2.0, few={"b", "a"}, output="mine", **{"a b": {"c": 1}})]
      def run(config): pass
      """)
    let parameters = try Expansion(file).configuration(at: 0).parameters
    #expect(
      JSON.object(parameters).compact
        == #"{"pair":[1,2.5],"path":"a/b","big":"1180591620717411303424","inf":"inf","ref":"${x}","none":null,"kind":1,"whole":2,"few":["a","b"],"output":"mine","a b":{"c":1}}"#
    )
  }

  @Test("each key counts for a run of the user's own, the package's bookkeeping too")
  func identity() throws {
    let texts = [
      "[dict(a=1, group_id='x'), dict(a=1, group_id='y'), dict(a=1, group_id=None), dict(a=1)]",
      "[dict(a=1, seed=0), dict(a=1, seed=1)]",
    ]
    let files = try texts.map {
      try read("def create_configs(): return \($0)\ndef run(config): pass")
    }
    let first = try Expansion(files[0])
    #expect(Set(try (0..<4).map { try first.configuration(at: $0).hash }).count == 4)
    let seeds = try (0..<2).map { try Expansion(files[1]).configuration(at: $0) }
    #expect(seeds[0].hash != seeds[1].hash && seeds[0].groupHash == seeds[1].groupHash)
  }

  @Test("SLURM gives what a slurm section gives", arguments: ["SLURM", "slurm"])
  func slurm(name: String) throws {
    let file = try read(
      module("\(name) = dict(partition='cpu', retry=('oom:1:mem*2',), time=30)\nimport json"))
    var options = SubmitOptions()
    try options.apply(file.slurm, file: "sweep.py")
    #expect(options["partition"] == "cpu" && options.resources.time == .seconds(1800))
    #expect(options.retryRules == [try RetryRule(parsing: "oom:1:mem*2")])
  }

  @Test(
    "faults name the line of the file, what was found and what to do",
    arguments: [
      ("x = (", "1: SyntaxError: '(' was never closed"),
      ("import absent_module_x", "1: there is no Python module 'absent_module_x' in "),
      ("from bllarse.tools.adapters import no", "1: ImportError: cannot import name 'no'"),
      ("import bllarse.layers", "1: there is no Python module 'bllarse.layers' in "),
      ("def create_configs():\n  return [1/0]", "2: ZeroDivisionError: division by zero"),
      ("import sys\nsys.exit(2)", "2: the module ended Python itself: sys.exit(2)"),
      ("run = 3\ndef create_configs(): return [{}]", " 'run' is a int, not a function"),
      ("x = 1", " the module has no create_configs(), which returns the list of configurations"),
      ("def create_configs(): return 3", " create_configs() must return a list"),
      ("def create_configs(): return []", "1:1: create_configs() returned an empty list"),
      (
        "def create_configs(): return [{}, 3]",
        " each configuration must be a mapping of options; number 1 of create_configs() is a int"
      ),
      (
        "def create_configs():\n  return [\n    dict(a=1, output='x')]",
        "3:15: configuration 0: the sweep itself gives each run its 'output'; remove the key"
      ),
      (
        "def create_configs(): return [{'a': {'b': 1}}]",
        "1:32: configuration 0: a value of 'a' is a word, a number, True, False, None or a list of those; found {\"b\":1}"
      ),
      (
        "def create_configs(): return [{'a-b': 1, 'a_b': 2}]",
        "1:42: configuration 0: 'a_b' is given twice (dashes and underscores are the same)"
      ),
      (
        "def run(c): pass\ndef create_configs(): return [dict(f=lambda: 1)]",
        " configuration 0: 'f' is <function"
      ),
      ("SLURM = [1]\ndef create_configs(): return [{}]", "1: 'SLURM' is a dictionary"),
      (
        "\nSLURM = {'partitoin': 'x'}\ndef create_configs(): return [{'a': 1}]",
        "2:1: unknown key 'partitoin' under 'slurm'; did you mean 'partition'?"
      ),
      (
        "from bllarse.tools.adapters import run_training_from_config as go\ndef create_configs(): return [dict(tune_mode='last_layer')]\ndef run(c): go(c, 'full_network')",
        " run() says finetuning_type='full_network', the configuration tune_mode='last_layer'; remove one of them"
      ),
    ])
  func faults(text: String, message: String) throws {
    let error = #expect(throws: SweepError.self) { try read(text) }
    #expect(error?.code == .data)
    #expect(error?.description.hasPrefix("\(folder.path)/sweep.py:\(message)") == true, "\(error!)")
  }

  @Test("a module that is missing in another file is told with that file's line")
  func missingElsewhere() throws {
    try folder.write("helper.py", Array("\nimport absent_module_x\n".utf8))
    let error = #expect(throws: SweepError.self) { try read("import helper") }
    #expect(error?.description.hasPrefix("\(folder.path)/helper.py:2: there is no Python") == true)
    #expect(error?.description.hasSuffix("--venv DIR or --python PATH") == true)
  }

  @Test("the training of VBLL heads is bllarse-finetune with the head's name")
  func vbll() throws {
    let file = try SweepReader().read(Fixtures.path("sweeps/python/vbll_last_layer.py"))
    try file.checkRunnable()
    #expect(!file.runsItself && file.program == ProgramDescription())
    let expansion = try Expansion(file)
    #expect(expansion.count == 6)
    let words = try expansion.configuration(at: 3).arguments()
    for pair in [
      ["--head", "VBLL"], ["--vbll-type", "discriminative"], ["--parameterization", "lowrank"],
      ["--cov-rank", "2"], ["--prior-scale", "1"], ["--wishart-scale", "0.1"],
      ["--num-workers", "4"], ["--tune-mode", "last_layer"],
    ] {
      let place = try #require(words.firstIndex(of: pair[0]))
      #expect(words[place + 1] == pair[1], "\(words)")
    }
    #expect(words.contains("--return-ood") && !words.contains("--enable-mlflow"))
    #expect(try !expansion.configuration(at: 0).arguments().contains("--cov-rank"))
  }

  @Test("a VBLL training whose configuration names another head is refused")
  func vbllWithHead() throws {
    let error = #expect(throws: SweepError.self) {
      try read(
        """
        from bllarse.tools.adapters import run_vbll_training_from_config
        def create_configs(): return [dict(loss_fn='IBProbit')]
        def run(c): run_vbll_training_from_config(c)
        """)
    }
    #expect(
      error?.description
        == "\(folder.path)/sweep.py: run_vbll_training_from_config trains VBLL heads, and the configuration says loss_fn='IBProbit'; remove it"
    )
  }

  @Test("scripts that are not there are refused by name")
  func refused() throws {
    let script = try read(
      module(
        "from bllarse.tools.adapters import run_script_from_config as go\ndef run(c): go('no.py', c)"
      ))
    #expect(try Expansion(script).count == 2)
    let missing = #expect(throws: SweepError.self) { try script.checkRunnable() }
    #expect(
      missing?.description.hasPrefix(
        "\(folder.path)/sweep.py:6: there is no script scripts/no.py: looked for it in \(folder.path), "
      ) == true)
  }

  @Test("what only run() imports is looked for when the sweep is read")
  func lateImports() throws {
    let file = try read(
      module(
        """
        def run(config):
            import json, absent_module_x
            try:
                import absent_module_y
            except ImportError:
                pass
        """))
    #expect(file.notes.count == 1)
    #expect(
      file.notes.first?.hasPrefix(
        "\(folder.path)/sweep.py:6: 'absent_module_x' is imported when run() is called") == true)
  }

  @Test("a false flag is left out whatever the program has for it, and a note says so")
  func falseFlags() throws {
    let help = """
      {"command": {"commandName": "p", "arguments": [
        {"kind": "flag", "names": [{"kind": "long", "name": "cache"}]},
        {"kind": "flag", "names": [{"kind": "long", "name": "no-cache"}]}]}}
      """
    let options = try #require(ProgramOptions(dump: help, program: "p"))
    let file = try read(
      "def create_configs():\n  return [dict(cache=False, x=None), dict(cache=True)]")
    let place = "\(folder.path)/sweep.py:2:"
    #expect(
      file.notesOnFalse(options) == [
        "\(place) 'cache' is left out: as the Python package did, and means the default; 'no_cache': True switches it off",
        "\(place) 'x' is left out: it is false or None here, and the program has no option -x",
      ])
    try options.check(file)
    let unknown = try read("def create_configs():\n  return [dict(y=False), dict(y=True)]")
    #expect(throws: SweepError.self) { try options.check(unknown) }
    let yaml = try SweepFile.decode("grid: {cache: [false]}", path: "sweep.yaml")
    #expect(yaml.notesOnFalse(options) == [])
    let directories = try [file, yaml].map { file in
      let program = Program(
        command: ["/bin/true"], checksum: nil, options: options, describer: [],
        description: file.program)
      return try SweepDirectory.freeze(
        file, expansion: Expansion(file), program: program, at: folder.file("s-\(file.name)"),
        dryRun: true
      ).directory
    }
    #expect(try directories[0].manifest.entry(at: 0).arguments == [])
    #expect(try directories[1].manifest.entry(at: 0).arguments == ["--no-cache"])
  }
}

@Suite("Kept Python modules")
struct KeptPythonTests {
  @Test("a module and those beside it are kept once a version, and a task has its own")
  func versions() throws {
    let folder = try TemporaryDirectory()
    let sweep = folder.file("sweep")
    func freeze(_ constant: Int, _ seeds: Int) throws -> SweepDirectory {
      try FileManager.default.createDirectory(
        atPath: folder.file("lib"), withIntermediateDirectories: true)
      try folder.write("lib/__init__.py", Array("X = 1\n".utf8))
      try folder.write("helper.py", Array("import lib\n".utf8))
      let path = try folder.write(
        "study.py",
        Array(
          "import helper, json\ndef create_configs(): return [dict(seed=s) for s in range(\(seeds))]\ndef run(c): return {'x': \(constant)}\n"
            .utf8))
      let file = try SweepReader().read(path)
      let program = Program(
        command: ["/bin/true"], checksum: nil, options: nil, describer: [],
        description: file.program)
      return try SweepDirectory.freeze(
        file, expansion: Expansion(file), program: program, at: sweep
      ).directory
    }
    let first = try freeze(1, 2)
    #expect(first.python?.folder == "sources/0001" && !first.runHasChanged)
    #expect(
      Files.names(in: "\(sweep)/sources/0001/files") == ["helper.py", "lib", "study.py"])
    #expect(Files.names(in: "\(sweep)/sources/0001/files/lib") == ["__init__.py"])
    #expect(try freeze(1, 2).python == first.python)
    // More configurations are no other run().
    let longer = try freeze(1, 3)
    #expect(longer.python?.folder == "sources/0002" && !longer.runHasChanged)
    let changed = try freeze(2, 3)
    #expect(changed.python?.folder == "sources/0003" && changed.runHasChanged)
    #expect(changed.manifest.count == 3)
    #expect(try SweepDirectory.open(sweep).python == changed.python)
    let entry = try changed.manifest.entry(at: 2)
    #expect(entry.program == ["python3", "run(config)"] && entry.arguments == [])
    var launcher = Launcher(changed)
    #expect(
      try Array(launcher.context(for: entry).command.dropFirst()) == [
        "\(sweep)/sources/0003/bllarse_python.py", "run", "2",
      ])
    var other = Launcher(changed, LaunchOptions(program: "/bin/true"))
    #expect(throws: SweepError.self) { try other.context(for: entry) }
  }
}
