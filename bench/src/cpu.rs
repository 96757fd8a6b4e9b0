//! Which core runs what: servers on one, the client on another, so that neither takes the other's time.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The cores given out.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: u32,
    pub(crate) client: u32,
}

/// Waits until no other benchmark runs on this machine; `wait` is called if one does. The turn ends with the file.
pub(crate) fn turn(wait: impl FnOnce()) -> std::io::Result<File> {
    let file = File::create(std::env::temp_dir().join("nocti-bench.lock"))?;
    if file.try_lock().is_err() {
        wait();
        file.lock()?;
    }
    Ok(file)
}

/// Two cores of those that this process may use; why not, where there are none to give out.
pub(crate) fn cores() -> Result<Cores, &'static str> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|_| "this system has no /proc")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let [server, client] = first_two(list).ok_or("this machine has one core")?;
    let pid = std::process::id().to_string();
    let mut pin = Command::new("taskset");
    pin.args(["--all-tasks", "--cpu-list", "--pid", &client.to_string(), &pid]).stdout(Stdio::null());
    match pin.status() {
        Ok(status) if status.success() => Ok(Cores { server, client }),
        _ => Err("taskset is not here or may not be used"),
    }
}

/// The first two of a list such as `0,2-7`.
fn first_two(list: &str) -> Option<[u32; 2]> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    let mut cores = ranges.flatten();
    Some([cores.next()?, cores.next()?])
}

/// The processor time that this thread, which is the client, has had; none where the system does not say.
pub(crate) fn thread_time() -> Option<Duration> {
    time_in(Path::new("/proc/thread-self/schedstat"))
}

/// The processor time that the threads of a process have had.
pub(crate) fn process_time(id: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
    threads.flatten().filter_map(|thread| time_in(&thread.path().join("schedstat"))).reduce(|one, two| one + two)
}

fn time_in(schedstat: &Path) -> Option<Duration> {
    std::fs::read_to_string(schedstat).ok()?.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

impl Cores {
    /// Both, as taskset takes them.
    pub(crate) fn both(self) -> String {
        format!("{},{}", self.server, self.client)
    }

    /// The time that both cores together have been busy with anything since the machine was started.
    pub(crate) fn busy_time(self) -> Option<Duration> {
        /// What /proc/stat counts in, wherever Linux runs today (USER_HZ).
        const TICK: Duration = Duration::from_millis(10);
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let ticks = |core: u32| {
            let name = format!("cpu{core} ");
            let numbers = text.lines().find_map(|line| line.strip_prefix(&name))?;
            let numbers: Vec<u32> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
            // user nice system idle iowait irq softirq steal: all but the two idle ones.
            Some(numbers.iter().take(8).sum::<u32>() - numbers.iter().skip(3).take(2).sum::<u32>())
        };
        Some(TICK * (ticks(self.server)? + ticks(self.client)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_the_first_two_of_the_list() {
        assert_eq!(first_two("\t0-1\n"), Some([0, 1]));
        assert_eq!(first_two("3,5-9"), Some([3, 5]));
        assert_eq!(first_two("4"), None);
    }
}
