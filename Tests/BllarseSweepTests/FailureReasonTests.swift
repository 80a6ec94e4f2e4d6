@testable import BllarseSweep
import Testing

@Suite("The line that says why a program failed")
struct FailureReasonTests {
  @Test(
    "is found among hints, notes and traces",
    arguments: [
      (
        """
        Error: Unknown option '--epoch'. Did you mean '--epochs'?
        Usage: bllarse-finetune train [<options>]
          See 'bllarse-finetune train --help' for more information.
        """, "Error: Unknown option '--epoch'. Did you mean '--epochs'?"
      ),
      (
        """
        epoch 1  loss 0.5
        MLflow: /w/mlflow.db, experiment 'bllarse', run abc
        bllarse-finetune: error: features has 512 columns, head expects 1024
        """, "bllarse-finetune: error: features has 512 columns, head expects 1024"
      ),
      (
        """
        bllarse-finetune: error: no such file
        2026-01-01T00:00:00+0000 warning bllarse.mlflow: 3 events are still local
        note: something else
        """, "bllarse-finetune: error: no such file"
      ),
      (
        """
        Traceback (most recent call last):
          File "a.py", line 3, in <module>
            run(config)
            ~~~^^^^^^^^
        KeyError: 'seed'

        During handling of the above exception, another exception occurred:

        Traceback (most recent call last):
          File "a.py", line 5, in <module>
            raise ValueError("two\\nlines")
        ValueError: two
        lines
        """, "ValueError: two"
      ),
      (
        """
        bllarse-finetune: error: bad rows
        Traceback (most recent call last):
          File "a.py", line 5, in <module>
        subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 65.
        """, "bllarse-finetune: error: bad rows"
      ),
      (
        """
        usage: train.py [-h] [--seed SEED]
        train.py: error: unrecognized arguments: --sed
        """, "train.py: error: unrecognized arguments: --sed"
      ),
      (
        """
        Traceback (most recent call last):
          File "a.py", line 5, in <module>
        torch.cuda.OutOfMemoryError: out of memory
        """, "torch.cuda.OutOfMemoryError: out of memory"
      ),
      (
        """
        Main.swift:7: Fatal error: Index out of range

        *** Program crashed: Illegal instruction at 0x0000
        rax 0x00
        """, "Main.swift:7: Fatal error: Index out of range"
      ),
      (
        "step 1\n  ./run.sh: line 3: trane: command not found\n",
        "./run.sh: line 3: trane: command not found"
      ),
      (
        "the error: was in line 3 of terrors: none\nboom",
        "the error: was in line 3 of terrors: none"
      ),
      ("terror: no\nboom\nTry 'x --help'", "boom"), ("note: only this", "note: only this"),
    ])
  func line(text: String, expected: String) {
    let lines = text.split(whereSeparator: \.isNewline).map(String.init)
    #expect(FailureReason.line(in: lines) == expected)
  }

  @Test("is nothing where nothing was said")
  func nothing() { #expect(FailureReason.line(in: []) == nil) }
}
