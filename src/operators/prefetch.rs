//! Fetching memory into the cache before it is needed: state by group is read in random order, and without this an
//! operator with many groups waits for memory most of its time.

/// How many elements ahead: about one memory latency of work.
pub const AHEAD: usize = 16;

/// Asks for `items[index]` to be brought into the cache; nothing happens beyond the end.
#[inline]
pub fn prefetch<T>(items: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching has no effect but on caches, and the address is that of a live element.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, index);
}

/// Calls `f(position, element)` for the elements of `groups`, fetching ahead.
#[inline]
pub fn visit<T>(items: &[T], groups: &[u32], mut f: impl FnMut(usize, &T)) {
    for (position, &group) in groups.iter().enumerate() {
        if let Some(&later) = groups.get(position + AHEAD) {
            prefetch(items, later as usize);
        }
        f(position, &items[group as usize]);
    }
}

/// The elements of `groups`, copied.
#[inline]
pub fn gather<T: Copy>(items: &[T], groups: &[u32]) -> Vec<T> {
    let mut gathered = Vec::with_capacity(groups.len());
    visit(items, groups, |_, &item| gathered.push(item));
    gathered
}
