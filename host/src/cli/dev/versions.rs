//! What the versions are called that `nocti dev` makes: `1.0.0-dev.1`, `.2` and so on, of the version in `nocti.toml`.

use crate::registry::name::VersionName;

const MARK: &str = "-dev.";

/// How many of them are kept: those that a rollback may want.
const KEPT: usize = 3;

/// The next of a version, where there are these. A name that would be too long is cut.
pub(super) fn next(version: &VersionName, there: &[String]) -> anyhow::Result<VersionName> {
    const MAX_BYTES: usize = 64;
    let number = there.iter().filter_map(|name| number(name)).max().unwrap_or(0).saturating_add(1);
    let suffix = format!("{MARK}{number}");
    let version: String = version.as_str().chars().take(MAX_BYTES - suffix.len()).collect();
    Ok((version + &suffix).parse()?)
}

/// Those that nobody needs any more.
pub(super) fn outdated(there: &[String]) -> Vec<&str> {
    let mut made: Vec<(u64, &str)> = there.iter().filter_map(|name| Some((number(name)?, name.as_str()))).collect();
    made.sort_unstable();
    made.truncate(made.len().saturating_sub(KEPT));
    made.into_iter().map(|(_, name)| name).collect()
}

fn number(name: &str) -> Option<u64> {
    name.rsplit_once(MARK)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn versions_are_numbered_on() {
        let next = |version: &str, there: &[&str]| {
            next(&version.parse().expect("a version"), &names(there)).expect("a version").to_string()
        };
        assert_eq!(next("1.0.0", &[]), "1.0.0-dev.1");
        assert_eq!(next("1.1.0", &["1.0.0-dev.9", "1.0.0-dev.10", "1.0.0", "x-dev.y"]), "1.1.0-dev.11");
        assert_eq!(next(&"v".repeat(64), &["1-dev.99"]).len(), 64);
        assert!(next(&"v".repeat(64), &[]).ends_with("v-dev.1"));
    }

    #[test]
    fn old_ones_go_and_others_stay() {
        let there = names(&["1-dev.10", "1-dev.9", "2.0.0", "1-dev.2", "1-dev.11"]);
        assert_eq!(outdated(&there), ["1-dev.2"]);
        assert!(outdated(&names(&["1", "1-dev.1", "1-dev.2"])).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn the_next_is_always_a_version(version in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", there: Vec<String>) {
            let last = format!("1-dev.{}", u64::MAX);
            let version: VersionName = version.parse().expect("by its form");
            proptest::prop_assert!(next(&version, &there).is_ok() && next(&version, &[last]).is_ok());
        }
    }
}
