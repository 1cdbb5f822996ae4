use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::answers::{AnswerCache, CacheOutcome, Logprobs, PromptCache, Saving, Settings};
use crate::error::Code;
use crate::request::FinishReason;

use super::store::{greedy, logprobs_of, sampled};
use super::{finished, log};

/// A process that saves its answers in a file.
struct Process {
    answers: Arc<AnswerCache>,
    saving: Saving,
}

fn begin(path: &Path) -> Process {
    let answers = Arc::new(AnswerCache::new(Settings::default()));
    let saving = Saving::start(&answers, path.to_owned()).expect("the thread starts");
    Process { answers, saving }
}

impl Process {
    fn insert(&self, prompt: u32, ended_at: Instant) {
        let log = log("first").with_logprobs(Some(1));
        for (text, token) in [("Grüß", 4), (" dich", 5)] {
            log.append(token, text, &logprobs_of(token));
        }
        let finished = crate::answers::Finished { finish_reason: FinishReason::Length, ..finished() };
        log.close("!", Ok(finished));
        self.answers.insert(&greedy(prompt), self.answers.epoch(), Arc::new(log), ended_at);
    }

    fn outcome(&self, prompt: u32) -> Option<CacheOutcome> {
        self.answers.find(&greedy(prompt), Instant::now()).map(|found| found.outcome)
    }
}

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answers");
    (folder, path)
}

/// A file with one answer.
fn written() -> (TempDir, PathBuf) {
    let (folder, path) = file();
    let process = begin(&path);
    process.insert(1, Instant::now());
    process.saving.finish();
    (folder, path)
}

#[test]
fn a_saved_answer_has_everything_in_the_next_process() {
    let (_folder, path) = written();
    let process = begin(&path);
    let found = process.answers.find(&greedy(1), Instant::now()).expect("the answer is cached");
    assert_eq!((found.log.text().as_str(), found.log.tokens()), ("Grüß dich!", vec![4, 5]));
    assert_eq!(found.log.logprobs(), Logprobs { per_token: 2, values: [logprobs_of(4), logprobs_of(5)].concat() });
    assert_eq!(&*found.log.origin().0, "first");
    let end = found.log.end().expect("it has ended").expect("it is complete");
    assert_eq!((end.finish_reason, end.num_input_tokens, end.seed), (FinishReason::Length, 3, 0));
    assert!(process.saving.take_warnings().is_empty());
}

#[test]
fn only_reproducible_answers_that_have_not_expired_are_saved() {
    let (_folder, path) = file();
    let process = begin(&path);
    let now = Instant::now();
    process.insert(1, now);
    process.insert(2, now.checked_sub(Duration::from_mins(6)).expect("the machine has run for longer"));
    let anew = log("first");
    anew.close("", Ok(finished()));
    process.answers.insert(&sampled(3), process.answers.epoch(), Arc::new(anew), now);
    process.saving.finish();
    let next = begin(&path);
    assert_eq!((next.outcome(1).is_some(), next.outcome(2)), (true, None));
    assert_eq!(next.answers.counts().num_entries, 1);
}

#[test]
fn the_age_of_an_answer_survives_the_file() {
    let (_folder, path) = file();
    let process = begin(&path);
    process.insert(1, Instant::now().checked_sub(Duration::from_mins(4)).expect("the machine has run for longer"));
    process.saving.finish();
    let next = begin(&path);
    assert_eq!(next.outcome(1), Some(CacheOutcome::PromptCache));
    let later = Instant::now() + Duration::from_secs(61);
    assert!(next.answers.find(&greedy(1), later).is_none());
}

#[test]
fn clearing_also_removes_answers_from_the_file() {
    let (_folder, path) = written();
    let process = begin(&path);
    process.answers.clear();
    process.saving.finish();
    assert_eq!(begin(&path).outcome(1), None);
}

#[test]
fn without_a_prompt_cache_no_answer_is_saved() {
    let (_folder, path) = file();
    let process = begin(&path);
    process.insert(1, Instant::now());
    let prompt_cache = PromptCache { enabled: false, ..Settings::default().prompt_cache };
    process.answers.configure(Settings { prompt_cache, ..Settings::default() });
    process.saving.finish();
    assert_eq!(begin(&path).outcome(1), None);
}

#[test]
fn only_the_owner_can_read_the_file_and_no_temporary_file_remains() {
    let (folder, path) = written();
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_file_that_is_damaged_or_of_another_kind_is_set_aside_unchanged_with_a_warning() {
    let (_folder, path) = written();
    let sound = fs::read(&path).expect("a file");
    let flipped = |index: usize| {
        let mut bytes = sound.clone();
        bytes[index] ^= 1;
        bytes
    };
    let mut files: Vec<_> = (0..sound.len()).map(flipped).collect();
    files.extend((0..sound.len()).map(|len| sound[..len].to_vec()));
    files.push([sound.as_slice(), b"more"].concat());
    files.push(b"{ \"answers\": [] }".to_vec());
    for bytes in files {
        fs::write(&path, &bytes).expect("written");
        let process = begin(&path);
        assert_eq!(process.answers.counts().num_entries, 0);
        let aside = path.with_extension("set-aside");
        assert_eq!(fs::read(&aside).expect("set aside"), bytes);
        fs::remove_file(&aside).expect("the file exists");
        let warnings = process.saving.take_warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("set-aside"), "{warnings:?}");
        assert!(process.saving.take_warnings().is_empty(), "reported once");
        process.saving.finish();
    }
}

#[test]
fn a_file_with_a_valid_checksum_and_inconsistent_answers_is_set_aside() {
    let (_folder, path) = written();
    let sound = fs::read(&path).expect("a file");
    let body = &sound[48..];
    let mut refused = 0;
    for index in 0..body.len() {
        let mut body = body.to_vec();
        body[index] ^= 0x41;
        let bytes = [&sound[..16], blake3::hash(&body).as_bytes(), &body].concat();
        fs::write(&path, bytes).expect("written");
        let process = begin(&path);
        refused += process.saving.take_warnings().len();
        for (_, entry) in process.answers.reproducible() {
            let readers = crate::answers::Readers::<()>::new(8, Box::new(|| ()));
            let id = readers.add(Arc::clone(&entry.log), Instant::now());
            readers.stream(id);
            readers.drain(&mut Vec::new(), &mut String::new());
        }
        process.saving.finish();
    }
    assert!(refused > 10, "{refused} refused: lengths and character borders are checked");
}

#[test]
fn a_large_file_of_another_kind_is_recognized_without_reading_it() {
    let (_folder, path) = written();
    let head = fs::read(&path).expect("a file")[..48].to_vec();
    for beginning in [b"notes".as_slice(), &head] {
        fs::write(&path, beginning).expect("written");
        fs::File::options().write(true).open(&path).expect("a file").set_len(1 << 38).expect("a sparse file");
        let began = Instant::now();
        let process = begin(&path);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(process.saving.take_warnings().len(), 1);
        let aside = path.with_extension("set-aside");
        assert_eq!(fs::metadata(&aside).expect("set aside").len(), 1 << 38);
        fs::remove_file(aside).expect("the file exists");
        process.saving.finish();
    }
}

#[test]
fn files_set_aside_earlier_are_not_overwritten() {
    let (_folder, path) = file();
    for notes in ["first", "second", "third"] {
        fs::write(&path, notes).expect("written");
        begin(&path).saving.finish();
    }
    let files =
        ["set-aside", "set-aside-2", "set-aside-3"].map(|name| fs::read(path.with_extension(name)).expect(name));
    assert_eq!(files, [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
}

#[test]
fn a_folder_at_the_path_is_refused_and_not_changed() {
    let (folder, path) = file();
    fs::create_dir(&path).expect("a folder");
    let refused = Saving::start(&Arc::new(AnswerCache::new(Settings::default())), path.clone()).err().expect("refused");
    assert_eq!((refused.code(), refused.param()), (Code::ConfigError, Some("cache.promptCache.path")));
    assert!(path.is_dir() && fs::read_dir(folder.path()).expect("a folder").count() == 1);
}

#[test]
fn a_path_that_cannot_be_written_is_reported_and_answers_stay_in_memory() {
    let (_folder, path) = file();
    let nowhere = path.join("no/such/folder/answers");
    let process = begin(&nowhere);
    let warnings = process.saving.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("could not be written"), "{warnings:?}");
    process.insert(1, Instant::now());
    process.saving.finish();
    assert!(process.saving.take_warnings().is_empty(), "reported once");
    assert!(process.outcome(1).is_some(), "the answer is in memory");
}
