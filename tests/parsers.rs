//! Parsers of what a model folder or a caller brings, fed with a kept corpus and with changes of it. An input may be
//! refused; it must not end the process, panic through, or take minutes. Each parser runs in a process of its own, on a
//! thread with a quarter of the stack that it has in an engine, so that an overflow is a failing test with its input.
//!
//! `MLX_PARSER_INPUTS` sets how many changed inputs each parser gets, `MLX_PARSER_SEED` where they begin.

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

    /// A few seconds each in a debug build.
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

    /// Runs a parser in another process; the last input that it began with is in a file.
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

    /// The other process: does nothing where it is run as a test of its own.
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
                // Either will do.
                let _ = feed(&mutations.next_input());
            }
        };
        let thread = Builder::new().stack_size(target.stack_bytes() / 4).spawn(run).expect("a thread");
        thread.join().expect("a parser that does not panic");
    }

    #[test]
    fn templates_of_any_text_end_no_process() {
        survives(Target::Template);
    }

    #[test]
    fn tokenizers_of_any_text_end_no_process() {
        survives(Target::Tokenizer);
    }

    #[test]
    fn configurations_of_any_text_end_no_process() {
        survives(Target::Config);
    }

    #[test]
    fn weight_files_with_any_header_end_no_process() {
        survives(Target::Weights);
    }

    #[test]
    fn schemas_of_any_form_end_no_process() {
        survives(Target::Schema);
    }

    #[test]
    fn grammars_of_any_text_end_no_process() {
        survives(Target::Grammar);
    }
}
