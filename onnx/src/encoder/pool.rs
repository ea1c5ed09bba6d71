use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};

/// Things of which each serves one thread at a time.
#[derive(Debug)]
pub(super) struct Pool<T> {
    idle: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T> Pool<T> {
    /// Makes a pool of at least one thing.
    pub(super) fn new(things: Vec<T>) -> Self {
        debug_assert!(!things.is_empty(), "an empty pool would make everyone wait for ever");
        Pool { idle: Mutex::new(things), returned: Condvar::new() }
    }

    /// Takes one, waiting until one is returned where all are taken.
    pub(super) fn take(&self) -> Taken<'_, T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = self
            .returned
            .wait_while(idle, |idle| idle.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        Taken { pool: self, thing: idle.pop() }
    }
}

/// One of a pool's things; dropping returns it.
#[derive(Debug)]
pub(super) struct Taken<'p, T> {
    pool: &'p Pool<T>,
    thing: Option<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.thing.take());
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_thing_serves_one_thread_at_a_time() {
        let pool = Pool::new(vec![0_usize, 0]);
        let n_taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut thing = pool.take();
                        assert!(n_taken.fetch_add(1, Ordering::SeqCst) < 2);
                        *thing += 1;
                        n_taken.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        let uses = pool.idle.into_inner().unwrap();
        assert_eq!((uses.len(), uses.iter().sum()), (2, 800_usize));
    }
}
