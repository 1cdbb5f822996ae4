//! The folder with the thread that reads and writes it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn path_of(folder: &TempDir, key: BlockKey) -> PathBuf {
    folder.path().join(format!("kv/{key}.kv.safetensors"))
}

fn num_files(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("kv")).expect("the folder").count()
}

/// Closes a store as the shutdown of an engine does.
fn close(store: Arc<PrefixStore>) {
    store.finish(Pending::WriteUntil(Instant::now() + Duration::from_mins(1)));
    drop(store);
}

#[test]
fn blocks_are_found_again_after_the_store_was_closed() {
    let (folder, keys) = (folder(), keys(1, 3));
    let store = open(&folder, PLENTY);
    assert_eq!((store.find(&keys).0, store.first_missing(&keys)), (0, Some(0)));
    write(&store, &keys);
    close(store);
    let store = open(&folder, PLENTY);
    assert_eq!((store.find(&keys).0, store.first_missing(&keys)), (3, None));
    assert_eq!(read(&store, &keys), [block(0), block(1), block(2)]);
    assert_eq!(store.counts().num_reads, 3);
    assert!(store.counts().read_bytes >= 3 * layout().block_bytes() as u64);
    assert_eq!(store.take_warnings(), [""; 0]);
}

#[test]
fn a_store_whose_disk_hangs_can_be_closed() {
    let (folder, keys) = (folder(), keys(1, 2));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().expect("not poisoned");
    let passed = Arc::clone(&gate);
    // The thread calls this after a write, and waits in it as it would wait for the disk.
    let notify = Box::new(move || drop(passed.lock()));
    let store = PrefixStore::open(folder.path().join("kv"), PLENTY, notify).expect("opens");
    for (index, number) in (0..keys.len()).zip(0..) {
        store.write(Write { keys: keys[..=index].into(), layout: layout(), block: block(number) });
    }
    for pending in [Pending::WriteUntil(Instant::now()), Pending::Drop] {
        store.finish(pending);
    }
    drop(closed);
}

#[test]
fn only_the_owner_can_read_files_and_folder() {
    let (folder, keys) = (folder(), keys(1, 1));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    let mode = |path: PathBuf| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(folder.path().join("kv")), 0o700);
    assert_eq!(mode(path_of(&folder, keys[0])), 0o600);
    assert_eq!(mode(folder.path().join("kv/lock")), 0o600);
}

#[test]
fn a_damaged_file_is_removed_with_a_warning_and_ends_the_prefix_there() {
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[200] ^= 1, |bytes| bytes.truncate(100), Vec::clear, |bytes| *bytes = b"my notes".to_vec()];
    for damage in damages {
        let (folder, keys) = (folder(), keys(1, 3));
        let store = open(&folder, PLENTY);
        write(&store, &keys);
        let path = path_of(&folder, keys[1]);
        let mut bytes = fs::read(&path).expect("it is there");
        damage(&mut bytes);
        fs::write(&path, bytes).expect("it can be written");
        assert_eq!(read(&store, &keys), [block(0)]);
        settle(&store);
        assert!(!path.exists());
        let warnings = store.take_warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("damaged"), "{warnings:?}");
        assert_eq!((store.counts().num_errors, store.first_missing(&keys)), (1, Some(1)));
        write(&store, &keys);
        assert_eq!(read(&store, &keys).len(), 3);
    }
}

#[test]
fn all_damaged_files_of_a_prompt_are_found_at_once() {
    let (folder, keys) = (folder(), keys(1, 4));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    for damaged in [1, 3] {
        fs::write(path_of(&folder, keys[damaged]), "my notes").expect("writes");
    }
    assert_eq!(read(&store, &keys), [block(0)]);
    settle(&store);
    assert_eq!((store.counts().num_errors, num_files(&folder)), (2, 3));
}

#[test]
fn a_file_of_another_block_or_another_precision_is_not_used() {
    let (folder, one, other) = (folder(), keys(1, 1), keys(50, 1));
    let store = open(&folder, PLENTY);
    write(&store, &one);
    write(&store, &other);
    fs::copy(path_of(&folder, one[0]), path_of(&folder, other[0])).expect("copies");
    assert_eq!(read(&store, &other), []);
    let wide = KvLayout { element: KvElement::Bf16, ..(*layout()).clone() };
    assert_eq!(read_as(&store, &one, Arc::new(wide)), []);
    assert_eq!(store.counts().num_errors, 2);
}

#[test]
fn files_of_other_programs_stay_and_links_are_not_followed() {
    let (folder, keys) = (folder(), keys(1, 2));
    let inner = folder.path().join("kv");
    fs::create_dir(&inner).expect("a folder");
    let notes = inner.join("notes.txt");
    fs::write(&notes, "my notes").expect("writes");
    symlink(&notes, path_of(&folder, keys[0])).expect("a link");
    fs::create_dir(path_of(&folder, keys[1])).expect("a folder with the name of a block");
    fs::write(inner.join("9.kv.tmp"), "half a block").expect("writes");
    let store = open(&folder, PLENTY);
    assert_eq!((store.counts().num_blocks, inner.join("9.kv.tmp").exists()), (0, false));
    assert_eq!(read(&store, &keys), []);
    store.clear();
    settle(&store);
    assert_eq!(fs::read_to_string(&notes).expect("it is there"), "my notes");
}

#[test]
fn a_link_in_the_place_of_a_file_is_removed_and_its_target_stays() {
    let (folder, keys) = (folder(), keys(1, 1));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    let (path, elsewhere) = (path_of(&folder, keys[0]), folder.path().join("elsewhere"));
    fs::rename(&path, &elsewhere).expect("moves");
    symlink(&elsewhere, &path).expect("a link");
    assert_eq!(read(&store, &keys), []);
    settle(&store);
    assert!(elsewhere.exists() && path.symlink_metadata().is_err());
}

#[test]
fn a_file_that_is_gone_is_a_miss_without_a_warning() {
    let (folder, keys) = (folder(), keys(1, 2));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    fs::remove_file(path_of(&folder, keys[0])).expect("removes");
    assert_eq!(read(&store, &keys), []);
    assert_eq!((store.take_warnings(), store.counts().num_errors), (Vec::new(), 0));
}

#[test]
fn the_blocks_of_the_prompt_that_was_not_used_for_longest_are_removed_first() {
    let folder = folder();
    let store = open(&folder, PLENTY);
    let [old, used, new] = [keys(1, 2), keys(50, 2), keys(90, 2)];
    write(&store, &old);
    write(&store, &used);
    let four = store.counts().num_bytes;
    close(store);
    let store = open(&folder, four);
    assert_eq!(read(&store, &old).len(), 2);
    settle(&store);
    write(&store, &new);
    assert_eq!([&old, &used, &new].map(|keys| store.find(keys).0), [2, 0, 2]);
    assert_eq!((store.counts().num_evictions, num_files(&folder)), (2, 5));
    close(store);
    // The order outlives the process, and a smaller limit removes the last block of a prompt before its first.
    let store = open(&folder, four * 3 / 4);
    settle(&store);
    assert_eq!([&old, &new].map(|keys| store.find(keys).0), [1, 2]);
    store.limit(0);
    settle(&store);
    assert_eq!((store.counts().num_blocks, num_files(&folder)), (0, 1));
}

#[test]
fn a_prompt_that_is_longer_than_the_folder_keeps_its_beginning() {
    let (folder, keys) = (folder(), keys(1, 4));
    let store = open(&folder, PLENTY);
    write(&store, &keys[..1]);
    let one = store.counts().num_bytes;
    store.limit(2 * one);
    write(&store, &keys[..1]);
    write(&store, &keys);
    assert_eq!((store.find(&keys).0, num_files(&folder)), (2, 3));
}

#[test]
fn without_room_nothing_is_written() {
    let (folder, keys) = (folder(), keys(1, 1));
    let store = open(&folder, 0);
    let write = Write { keys: keys.clone().into(), layout: layout(), block: block(0) };
    assert_eq!((store.has_room(), store.write(write)), (false, Written::Dropped));
    assert_eq!(num_files(&folder), 1);
}

#[test]
fn a_second_store_only_reads() {
    let (folder, keys) = (folder(), keys(1, 2));
    let first = open(&folder, PLENTY);
    write(&first, &keys);
    let second = open(&folder, 1);
    assert!(second.take_warnings()[0].contains("another engine writes"));
    assert!(!second.is_writable());
    settle(&second);
    assert_eq!(read(&second, &keys).len(), 2, "its limit is that of the first");
    second.clear();
    settle(&second);
    assert_eq!((second.find(&keys).0, first.find(&keys).0), (0, 2));
    assert_eq!(read(&first, &keys).len(), 2);
    close(first);
    close(second);
    assert!(open(&folder, PLENTY).is_writable());
}

#[test]
fn clearing_removes_all_files_also_those_that_are_being_written() {
    let folder = folder();
    let store = open(&folder, PLENTY);
    for round in 0..20 {
        let keys = keys(round * 100, 5);
        for index in 0..5 {
            store.write(Write { keys: keys[..=index].into(), layout: layout(), block: block(0) });
        }
        store.clear();
        assert_eq!(store.find(&keys).0, 0);
        settle(&store);
        assert_eq!((store.counts().num_blocks, num_files(&folder)), (0, 1), "only the lock is left");
    }
}

#[test]
fn every_read_ends_when_the_store_is_closed() {
    let (folder, keys) = (folder(), keys(1, 3));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    let (send, receive) = mpsc::channel();
    for _ in 0..50 {
        let send = send.clone();
        let done = Box::new(move |blocks: ReadEnd| {
            send.send(blocks.len()).ok();
        });
        let is_wanted = Arc::new(AtomicBool::new(true));
        store.read(Read { keys: keys.clone().into(), layout: layout(), is_wanted, done });
    }
    store.finish(Pending::Drop);
    assert_eq!(read(&store, &keys), [], "a closed store has nothing");
    assert_eq!(receive.try_iter().count(), 50);
}

#[test]
fn a_read_that_no_request_waits_for_reads_nothing() {
    let (folder, keys) = (folder(), keys(1, 3));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    let (send, receive) = mpsc::channel();
    let done = Box::new(move |blocks: ReadEnd| {
        send.send(blocks.len()).ok();
    });
    store.read(Read { keys: keys.into(), layout: layout(), is_wanted: Arc::new(AtomicBool::new(false)), done });
    assert_eq!((receive.recv(), store.counts().num_reads), (Ok(0), 0));
}

#[test]
fn queued_blocks_are_written_when_the_store_is_closed() {
    let (folder, keys) = (folder(), keys(1, 5));
    let store = open(&folder, PLENTY);
    for index in 0..5 {
        store.write(Write { keys: keys[..=index].into(), layout: layout(), block: block(0) });
    }
    close(store);
    assert_eq!(open(&folder, PLENTY).find(&keys).0, 5);
}

#[test]
fn a_path_that_is_no_folder_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("kv"), "my notes").expect("writes");
    let open = |path: PathBuf| PrefixStore::open(path, PLENTY, Box::new(|| ())).err().expect("refused");
    let refused = open(folder.path().join("kv"));
    assert_eq!((refused.code(), refused.param()), (Code::ConfigError, Some("cache.prefixCache.path")));
    assert_eq!(open(folder.path().join("kv/deeper")).code(), Code::ConfigError);
}

#[test]
fn a_folder_that_cannot_be_written_is_read() {
    let (folder, keys) = (folder(), keys(1, 1));
    let store = open(&folder, PLENTY);
    write(&store, &keys);
    close(store);
    // A lock that cannot be opened has the effect of a missing permission, also if the test runs as the superuser.
    let lock = folder.path().join("kv/lock");
    fs::remove_file(&lock).expect("removes");
    symlink("/nowhere/at/all", &lock).expect("a link");
    let store = open(&folder, PLENTY);
    assert!(store.take_warnings()[0].contains("only read"));
    assert_eq!(read(&store, &keys).len(), 1);
}

#[test]
fn a_failure_to_write_is_reported_once() {
    let (folder, keys) = (folder(), keys(1, 2));
    let store = open(&folder, PLENTY);
    fs::remove_dir_all(folder.path().join("kv")).expect("removes");
    for index in 0..2 {
        store.write(Write { keys: keys[..=index].into(), layout: layout(), block: block(0) });
    }
    settle(&store);
    let warnings = store.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("could not be written"), "{warnings:?}");
    assert_eq!((store.counts().num_errors, store.find(&keys).0), (2, 0));
}

#[test]
fn the_time_of_a_read_follows_from_its_bytes_and_from_the_reads_before() {
    let mut state = State::default();
    let keys = keys(1, 2);
    for key in &keys {
        state.index.insert(*key, 50_000_000);
    }
    let tenths = |time: Duration| (time + Duration::from_millis(50)).as_millis() / 100;
    assert_eq!(tenths(state.read_time(&keys)), 2, "as long as nothing was measured");
    state.was_read(10_000_000, Duration::from_millis(100));
    assert_eq!(tenths(state.read_time(&keys)), 10);
    let is_wanted = Arc::new(AtomicBool::new(true));
    state.push_read(Read { keys: keys.clone().into(), layout: layout(), is_wanted, done: Box::new(|_| ()) });
    assert_eq!(tenths(state.read_time(&keys)), 20);
}
