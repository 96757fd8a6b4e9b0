//! What of this machine matters to models: how much memory the process may use, and what the processor can.

use std::path::Path;

/// Bytes that this process may use: the machine's memory, or the limit of its control group where that is less. `None` where the
/// system does not say.
pub(super) fn memory_bytes() -> Option<u64> {
    let total = read("/proc/meminfo").and_then(|text| total_bytes(&text))?;
    Some(cgroup_bytes().map_or(total, |limit| limit.min(total)))
}

/// The processor's features, in words: optimised models are made for them.
pub(super) fn processor() -> String {
    let text = read("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    format!("{} {}{}", std::env::consts::ARCH, line("flags"), line("Features"))
}

/// proc(5): `MemTotal` of `/proc/meminfo`, in kB.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// The least limit of the process's group and those above it; cgroups(7), both versions.
fn cgroup_bytes() -> Option<u64> {
    let groups = read("/proc/self/cgroup")?;
    let limits = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => (Path::new("/sys/fs/cgroup"), "memory.max"),
            "memory" => (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the group's name may be the one outside, where the root is the group itself.
        let folder = root.join(group.trim_start_matches('/'));
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
        folders.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_as_the_kernel_writes_it() {
        assert_eq!(total_bytes("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24_576 << 10));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_may_use_some_memory_and_no_more_than_there_is() {
        let total = total_bytes(&read("/proc/meminfo").unwrap()).unwrap();
        assert!((1 << 20..=total).contains(&memory_bytes().unwrap()));
    }
}
