//! Clocks and counters: wall time, CPU time of a process in nanoseconds, peak resident memory.

use std::time::Instant;

/// CPU nanoseconds that all living threads of a process have used (Linux `schedstat`).
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next().and_then(|first| first.parse::<u64>().ok()))
        .sum()
}

/// User and system time of a process with its ended threads, in seconds, to a hundredth (Linux `stat`).
pub(crate) fn cpu_total_s(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// CPU nanoseconds of a process with its ended threads.
pub(crate) fn cpu_clock_ns(pid: u32) -> u64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the standard library reads no clock of another process")]
    {
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let pid = libc::pid_t::try_from(pid).expect("a process");
        // SAFETY: both write into a variable of the type they ask for, and keep no pointer to it.
        let failed = unsafe {
            libc::clock_getcpuclockid(pid, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0
        };
        assert!(!failed, "the clock of process {pid} cannot be read");
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        seconds.expect("a time") * 1_000_000_000 + nanoseconds.expect("a time")
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    return cpu_ns(pid);
}

/// Peak resident memory of a process in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Microseconds that a piece of work took.
pub(crate) fn time_us<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let out = work();
    (out, start.elapsed().as_secs_f64() * 1e6)
}

/// The middle of the values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The value below which 95 of 100 lie.
pub(crate) fn p95(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 95 / 100).copied().unwrap_or_default()
}
