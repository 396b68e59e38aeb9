//! The allocator of this program: one arena for all threads.
//!
//! glibc gives every thread that meets a contended arena one of its own, and none shrinks for the sake of another.
//! Remote changes are applied on a thread of their own, so documents with a history cost their memory twice
//! (docs/BENCHMARKS.md, "join, growth"). Other systems' allocators are left as they are.

/// To be called before the first thread is started.
pub(crate) fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a foreign function without pointers")]
    // SAFETY: mallopt(3) takes two numbers, no thread runs yet, and a refusal leaves everything as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
