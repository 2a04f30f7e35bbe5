// SPDX-License-Identifier: MIT
//
// An epoll loop that waits for each of Rust's locks, one stall after the other, and prints as JSON lines what kind of
// lock that is to the kernel, which thread has it (null: nobody) and which function is to blame.
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

extern "C" {
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_wait(fd: c_int, events: *mut c_void, n: c_int, ms: c_int) -> c_int;
}

const HELD: Duration = Duration::from_millis(60);
static TAKEN: AtomicBool = AtomicBool::new(false);

fn turn(epoll: c_int) {
    let mut event = [0u64; 2];
    for _ in 0..5 {
        unsafe { epoll_wait(epoll, event.as_mut_ptr() as *mut c_void, 1, 5) };
    }
}

fn start<F: FnOnce() + Send + 'static>(name: &str, work: F) -> thread::JoinHandle<()> {
    TAKEN.store(false, Ordering::SeqCst);
    let handle = thread::Builder::new().name(name.into()).spawn(work).unwrap();
    while !TAKEN.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_micros(100));
    }
    handle
}

#[inline(never)]
fn hold(lock: &Mutex<u32>) {
    let mut guard = lock.lock().unwrap();
    TAKEN.store(true, Ordering::SeqCst);
    thread::sleep(HELD);
    *guard += 1;
}

#[inline(never)]
fn write_long(lock: &RwLock<u32>) {
    let mut guard = lock.write().unwrap();
    TAKEN.store(true, Ordering::SeqCst);
    thread::sleep(HELD);
    *guard += 1;
}

#[inline(never)]
fn contend(epoll: c_int) {
    let lock = Arc::new(Mutex::new(0));
    let theirs = lock.clone();
    let thread = start("holder", move || hold(&theirs));
    *lock.lock().unwrap() += 1;
    turn(epoll);
    thread.join().unwrap();
    println!("[\"futex\", \"holder\", \"hold\"]");
}

#[inline(never)]
fn contend_reader(epoll: c_int) {
    let lock = Arc::new(RwLock::new(0));
    let theirs = lock.clone();
    let thread = start("writer", move || write_long(&theirs));
    assert_eq!(*lock.read().unwrap(), 1);
    turn(epoll);
    thread.join().unwrap();
    println!("[\"futex\", \"writer\", \"write_long\"]");
}

#[inline(never)]
fn wait_signal(epoll: c_int) {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = pair.clone();
    let thread = start("other", move || {
        TAKEN.store(true, Ordering::SeqCst);
        thread::sleep(HELD);
        *theirs.0.lock().unwrap() = true;
        theirs.1.notify_one();
    });
    let mut done = pair.0.lock().unwrap();
    while !*done {
        done = pair.1.wait(done).unwrap();
    }
    drop(done);
    turn(epoll);
    thread.join().unwrap();
    println!("[\"futex\", null, \"wait_signal\"]");
}

#[inline(never)]
fn receive(epoll: c_int) {
    let (sender, receiver) = mpsc::channel();
    let thread = start("sender", move || {
        TAKEN.store(true, Ordering::SeqCst);
        thread::sleep(HELD);
        sender.send(1).unwrap();
    });
    assert_eq!(receiver.recv(), Ok(1));
    turn(epoll);
    thread.join().unwrap();
    println!("[\"futex\", null, \"receive\"]");
}

fn main() {
    let epoll = unsafe { epoll_create1(0) };
    turn(epoll);
    contend(epoll);
    contend_reader(epoll);
    wait_signal(epoll);
    receive(epoll);
}
