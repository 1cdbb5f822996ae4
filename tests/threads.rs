//! Engines that run one after another use one thread, so that a device library keeps its thread-local state once. A
//! separate test program, because all engines of a process share the threads.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use mlx_serving::clock::RealClock;
use mlx_serving::engine::{Config, Engine, Reply};
use mlx_serving::error::{Code, Error};
use mlx_serving::executor::Backend;
use mlx_serving::executor::sim::{Profile, SimBackend};

type Threads = Arc<Mutex<HashSet<ThreadId>>>;

/// An engine that records its thread.
fn engine(threads: &Threads) -> Arc<Engine> {
    let threads = Arc::clone(threads);
    let open = Box::new(move || {
        threads.lock().expect("not poisoned").insert(thread::current().id());
        let profile = Profile::named("instant").expect("a listed profile");
        let vocabulary = Box::new(|_: &_| Err(Error::new(Code::ModelLoadError, "no model here")));
        Ok(Box::new(SimBackend::new(profile, Arc::new(RealClock), vocabulary)) as Box<dyn Backend>)
    });
    Engine::start(Config::default(), open, Box::new(|| ())).expect("the engine starts")
}

fn shut_down(engine: &Arc<Engine>) {
    let (sender, receiver) = channel();
    engine.shutdown(Duration::ZERO, Reply::new(move |result| drop(sender.send(result))));
    receiver.recv().expect("a reply").expect("shuts down");
    engine.stop();
}

/// The error of an engine whose device cannot be opened. Waits until the thread has dropped the state of the engine.
fn start_broken() -> Option<Error> {
    let held = Arc::new(());
    let by_engine = Arc::clone(&held);
    let wake = Box::new(move || drop(Arc::clone(&by_engine)));
    let error = Engine::start(Config::default(), Box::new(|| panic!("no device")), wake).err();
    let give_up = Instant::now() + Duration::from_mins(1);
    while Arc::strong_count(&held) > 1 {
        assert!(Instant::now() < give_up, "the thread ends its work");
        thread::yield_now();
    }
    error
}

/// Regression: each engine had its own thread, and MLX kept a stream for each until the process ended.
#[test]
fn engines_run_on_as_many_threads_as_there_are_engines_at_a_time() {
    let threads = Threads::default();
    for _ in 0..20 {
        shut_down(&engine(&threads));
    }
    let num_threads = || threads.lock().expect("not poisoned").len();
    assert_eq!(num_threads(), 1, "one after another");
    for _ in 0..20 {
        let engines = [engine(&threads), engine(&threads), engine(&threads)];
        engines.iter().for_each(shut_down);
    }
    assert_eq!(num_threads(), 3, "three at a time");

    assert!((0..5).all(|_| start_broken().is_some_and(|error| error.message().contains("no device"))));
    // The handle is dropped without a shutdown. The next engine gets its thread.
    drop(engine(&threads));
    for _ in 0..20 {
        shut_down(&engine(&threads));
    }
    assert_eq!(num_threads(), 3, "also after engines that failed to start or were dropped");
}
