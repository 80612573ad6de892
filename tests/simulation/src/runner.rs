//! Owns running many trials, on as many threads as there are cores.

use std::{
    rc::Rc,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::deployment::Product;

/// Runs `work` on each item; `done` is told of each result as it comes, and says whether to go on.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&Rc<Product>, &T) -> R + Sync,
    mut done: impl FnMut(&T, R) -> bool,
) {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                let product = Rc::new(Product::of_the_project());
                while !stop.load(Ordering::Relaxed) {
                    let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    if send.send((item, work(&product, item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (item, result) in receive {
            if !done(item, result) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
}
