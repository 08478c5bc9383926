//! Work on thousands of processes, in as many threads as there are processors: `/proc` makes each of them wait for
//! itself only.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism, scope};

/// How many items are taken at once.
const BLOCK: usize = 64;

/// How many items make a thread worth starting: it costs as much as reading two processes does.
const WORTH_A_THREAD: usize = 128;

/// More threads than this wait for each other's memory rather than the kernel for its own.
const MOST_THREADS: usize = 8;

/// What `work` makes of each block of `items`, in their order.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    in_threads(items, processors.min(MOST_THREADS).min(items.len() / WORTH_A_THREAD), work)
}

fn in_threads<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let blocks = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let start = number * BLOCK;
            if start >= items.len() {
                return done;
            }
            done.push((number, work(&items[start..items.len().min(start + BLOCK)])));
        }
    };
    let mut done = scope(|scope| {
        // Where a thread does not start, the others do its part.
        let others: Vec<ScopedJoinHandle<'_, _>> = (1..threads)
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, blocks).ok())
            .collect();
        let mut done = blocks();
        for other in others {
            done.extend(super::joined(other));
        }
        done
    });
    done.sort_unstable_by_key(|&(number, _)| number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for count in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 1000] {
            let items: Vec<usize> = (0..count).collect();
            for threads in [0, 1, 2, 5] {
                let blocks = in_threads(&items, threads, <[usize]>::to_vec);
                assert_eq!(blocks.concat(), items, "{threads} threads");
            }
            assert_eq!(each(&items, <[usize]>::to_vec).concat(), items);
        }
    }
}
