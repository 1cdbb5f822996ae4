//! Runs the parsers of model folders and of requests on a stored corpus and on mutations of it. A parser may refuse an
//! input. It must not end the process, panic, or take minutes. Each parser runs in its own process, on a thread with a
//! quarter of the stack that it has in an engine, so that an overflow fails the test with its input.
//!
//! `MLX_PARSER_INPUTS` is the number of mutated inputs of each parser, `MLX_PARSER_SEED` their first seed.

mod parsers {
    mod mutations;
    mod targets;

    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::thread::Builder;

    use mutations::Mutations;
    use targets::Target;

    /// Default number of inputs: a few seconds for each parser in a debug build.
    const NUM_INPUTS: u64 = 150;
    const CHILD: &str = "MLX_PARSER_CHILD";

    fn corpus(target: Target) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parsers/corpus").join(target.name());
        let entries = fs::read_dir(&folder).expect("the corpus is there");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} has no corpus", target.name());
        let read = |path: PathBuf| fs::read(&path).map(|bytes| (path, bytes)).expect("the corpus can be read");
        paths.into_iter().map(read).collect()
    }

    fn number(name: &str, default: u64) -> u64 {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Runs a parser in another process, which writes each input to a file before it parses it.
    fn survives(target: Target) {
        let last = tempfile::NamedTempFile::new().expect("a file for the input");
        let program = env::current_exe().expect("this test");
        let child = Command::new(program)
            .args(["--exact", "parsers::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, target.name())
            .env("MLX_PARSER_LAST", last.path())
            .output()
            .expect("this test can be started");
        if child.status.success() {
            return;
        }
        let input = fs::read(last.path()).unwrap_or_default();
        let kept = env::temp_dir().join(format!("mlx-serving-{}.input", target.name()));
        let _ = fs::write(&kept, &input);
        let said = String::from_utf8_lossy(&child.stderr);
        let end = said.len().saturating_sub(2_000);
        panic!(
            "{} ended with {} at an input of {} bytes, kept as {}:\n{}\n…\n{}",
            target.name(),
            child.status,
            input.len(),
            kept.display(),
            String::from_utf8_lossy(&input[..input.len().min(500)]),
            &said[said.ceil_char_boundary(end)..]
        );
    }

    /// The body of the other process. Does nothing when it runs as a normal test.
    #[test]
    fn child() {
        let Ok(name) = env::var(CHILD) else { return };
        let last = env::var("MLX_PARSER_LAST").expect("where inputs are noted");
        let target = Target::named(&name).expect("a parser of that name");
        let run = move || {
            let corpus = corpus(target);
            let parser = target.parser();
            let feed = |input: &[u8]| {
                fs::write(&last, input).expect("an input can be noted");
                parser.feed(input)
            };
            for (path, input) in &corpus {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let refusal = feed(input).err();
                assert_eq!(refusal.is_some(), file.starts_with("refused"), "{}: {refusal:?}", path.display());
            }
            let seeds: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
            let mut mutations = Mutations::new(seeds, target.words(), number("MLX_PARSER_SEED", 1));
            for _ in 0..number("MLX_PARSER_INPUTS", NUM_INPUTS) {
                // Success and refusal are both fine.
                let _ = feed(&mutations.next_input());
            }
        };
        let thread = Builder::new().stack_size(target.stack_bytes() / 4).spawn(run).expect("a thread");
        thread.join().expect("a parser that does not panic");
    }

    #[test]
    fn templates_of_any_text_do_not_end_the_process() {
        survives(Target::Template);
    }

    #[test]
    fn tokenizers_of_any_text_do_not_end_the_process() {
        survives(Target::Tokenizer);
    }

    #[test]
    fn configurations_of_any_text_do_not_end_the_process() {
        survives(Target::Config);
    }

    #[test]
    fn weight_files_with_any_header_do_not_end_the_process() {
        survives(Target::Weights);
    }

    #[test]
    fn schemas_of_any_form_do_not_end_the_process() {
        survives(Target::Schema);
    }

    #[test]
    fn grammars_of_any_text_do_not_end_the_process() {
        survives(Target::Grammar);
    }
}
