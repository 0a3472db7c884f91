//! Session policies: the ceiling of a session.

use std::collections::BTreeSet;

use super::{
    Narrowing, Templates,
    document::{Statement, bytes_in_go},
    template::document,
};
use crate::lake::{Access, LakePath, Scope};

/// The largest session policy that STS takes, in bytes.
pub const MAX_SESSION_BYTES: usize = 2048;

/// An inline session policy.
///
/// - It has at most [`MAX_SESSION_BYTES`], as MinIO counts them.
/// - It allows at least what was asked for; and no more, if it is `exact`.
/// - One of a listed scope is exact.
/// - It allows no administration: keys with it can make no further keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicy {
    pub json: String,
    pub bytes: usize,
    pub exact: bool,
}

/// A listed scope that does not fit. It is not widened: it says what a job may do at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session policy of this scope has {bytes} bytes, and STS takes {MAX_SESSION_BYTES}: list fewer folders")]
pub struct TooLarge {
    pub bytes: usize,
}

impl SessionPolicy {
    /// The ceiling for what the user has, `granted`, and what they asked for. One that is narrowed besides is never widened.
    pub fn ceiling(
        templates: &Templates,
        bucket: &str,
        granted: &[(LakePath, Access)],
        scope: &Scope,
        narrowing: Option<&Narrowing>,
    ) -> Result<Self, TooLarge> {
        let render = |ceiling: &Ceiling| ceiling.render(templates, bucket);
        if let Some(narrowing) = narrowing {
            let ceiling = match scope {
                Scope::Lake => Ceiling::whole_lake(),
                Scope::Listed(listed) => Ceiling::new(listed),
                Scope::Granted => Ceiling::new(granted),
            };
            return Self::new(narrowing.within(&ceiling.statements(templates, bucket)), true).that_fits();
        }
        match scope {
            Scope::Lake => Ok(render(&Ceiling::whole_lake())),
            Scope::Listed(listed) => render(&Ceiling::new(listed)).that_fits(),
            Scope::Granted => {
                let mut ceiling = Ceiling::new(granted);
                loop {
                    // Each prefix is in the policy twice: no need to write out what cannot fit.
                    if ceiling.prefix_bytes() * 2 <= MAX_SESSION_BYTES {
                        let policy = render(&ceiling);
                        if policy.bytes <= MAX_SESSION_BYTES {
                            return Ok(policy);
                        }
                    }
                    if !ceiling.widen() {
                        return Ok(SessionPolicy { exact: false, ..render(&Ceiling::whole_lake()) });
                    }
                }
            }
        }
    }
}

impl SessionPolicy {
    fn new(statements: Vec<Statement>, exact: bool) -> Self {
        let json = document(statements).to_json();
        Self { bytes: bytes_in_go(&json), json, exact }
    }

    fn that_fits(self) -> Result<Self, TooLarge> {
        if self.bytes <= MAX_SESSION_BYTES { Ok(self) } else { Err(TooLarge { bytes: self.bytes }) }
    }
}

/// Prefixes of keys that a session may read, and those that it may write (and read). `""` is the whole lake.
#[derive(Debug, Clone)]
struct Ceiling {
    readable: BTreeSet<String>,
    writable: BTreeSet<String>,
    exact: bool,
}

impl Ceiling {
    fn new(reaches: &[(LakePath, Access)]) -> Self {
        let of = |wanted| {
            let of_access = reaches.iter().filter(|(_, access)| *access == wanted);
            of_access.map(|(path, _)| path.as_str().to_owned()).collect()
        };
        let mut ceiling = Self { readable: of(Access::Read), writable: of(Access::Write), exact: true };
        ceiling.drop_covered();
        ceiling
    }

    /// Exact, for it promises nothing less.
    fn whole_lake() -> Self {
        Self { readable: BTreeSet::new(), writable: BTreeSet::from([String::new()]), exact: true }
    }

    fn prefix_bytes(&self) -> usize {
        self.readable.iter().chain(&self.writable).map(String::len).sum()
    }

    fn render(&self, templates: &Templates, bucket: &str) -> SessionPolicy {
        SessionPolicy::new(self.statements(templates, bucket), self.exact)
    }

    fn statements(&self, templates: &Templates, bucket: &str) -> Vec<Statement> {
        let readable: Vec<&str> = self.readable.iter().map(String::as_str).collect();
        let writable: Vec<&str> = self.writable.iter().map(String::as_str).collect();
        let all = [readable.clone(), writable.clone()].concat();
        let prefixes = [("{prefix}", all), ("{readable}", readable), ("{writable}", writable)];
        templates.session.fill(bucket, &prefixes, None)
    }

    /// Replaces the two neighbours that have the most in common by their parent; or the longest prefix by its own.
    /// `false`: there is nothing left to widen.
    fn widen(&mut self) -> bool {
        let in_common = |set: &BTreeSet<String>| {
            let pairs = set.iter().zip(set.iter().skip(1));
            pairs.map(|(a, b)| common_parent(a, b).to_owned()).max_by_key(String::len)
        };
        let longest =
            |set: &BTreeSet<String>| set.iter().map(|prefix| parent(prefix).to_owned()).max_by_key(String::len);
        let (mut read, mut write) = (in_common(&self.readable), in_common(&self.writable));
        if read.is_none() && write.is_none() {
            (read, write) = (longest(&self.readable), longest(&self.writable));
        }
        let length = |folder: &Option<String>| folder.as_ref().map(String::len);
        let (set, folder) = match (length(&read) >= length(&write), read, write) {
            (true, Some(folder), _) => (&mut self.readable, folder),
            (_, _, Some(folder)) => (&mut self.writable, folder),
            (_, _, None) => return false,
        };
        if set.contains(&folder) {
            return false;
        }
        set.insert(folder);
        self.exact = false;
        self.drop_covered();
        true
    }

    fn drop_covered(&mut self) {
        for set in [&mut self.readable, &mut self.writable] {
            // Sorted, whatever a prefix covers comes right behind it.
            let mut last: Option<String> = None;
            set.retain(|prefix| {
                let covered = last.as_ref().is_some_and(|last| prefix.starts_with(last.as_str()));
                if !covered {
                    last = Some(prefix.clone());
                }
                !covered
            });
        }
        let writable = &self.writable;
        self.readable.retain(|prefix| !ancestors(prefix).any(|above| writable.contains(above)));
    }
}

/// The prefix itself, and all folders that it is in, up to the whole lake.
fn ancestors(prefix: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(prefix), |prefix| (!prefix.is_empty()).then(|| parent(prefix)))
}

fn parent(prefix: &str) -> &str {
    let inner = prefix.strip_suffix('/').unwrap_or(prefix);
    &prefix[..inner.rfind('/').map_or(0, |at| at + 1)]
}

fn common_parent<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    &a[..a.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::PolicyDocument;

    fn ceiling(granted: &[(LakePath, Access)], scope: &Scope) -> Result<SessionPolicy, TooLarge> {
        SessionPolicy::ceiling(&Templates::built_in(), "cdm-lake", granted, scope, None)
    }

    /// Whether the policy allows an action on a key: a second reading of it, for tests.
    fn allows(policy: &SessionPolicy, action: &str, key: &str) -> bool {
        let document: PolicyDocument = serde_json::from_str(&policy.json).unwrap();
        document.statement.iter().any(|statement| {
            let on_key = |resource: &String| {
                resource
                    .strip_prefix("arn:aws:s3:::cdm-lake/")
                    .and_then(|rest| rest.strip_suffix('*'))
                    .is_some_and(|prefix| key.starts_with(prefix))
            };
            statement.action.iter().any(|a| a == action) && statement.resource.iter().any(on_key)
        })
    }

    fn paths() -> impl Strategy<Value = Vec<(LakePath, Access)>> {
        let path = "[a-c<&é]{1,12}(/[a-c]{1,12}){0,5}".prop_map(|text| text.parse().unwrap());
        let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
        prop::collection::vec((path, access), 0..80)
    }

    proptest! {
        #[test]
        fn what_does_not_fit_is_widened_never_narrowed(granted in paths()) {
            let policy = ceiling(&granted, &Scope::Granted).unwrap();
            prop_assert!(policy.bytes <= MAX_SESSION_BYTES);
            for (path, access) in &granted {
                let key = format!("{path}x");
                prop_assert!(allows(&policy, "s3:GetObject", &key));
                prop_assert!(*access == Access::Read || allows(&policy, "s3:PutObject", &key));
            }
            if policy.exact {
                for (path, _) in &granted {
                    let outside = format!("{}x", path.as_object_key());
                    let within = |needed| granted.iter().any(|(p, a)| outside.starts_with(p.as_str()) && *a >= needed);
                    prop_assert_eq!(allows(&policy, "s3:GetObject", &outside), within(Access::Read));
                    prop_assert_eq!(allows(&policy, "s3:PutObject", &outside), within(Access::Write));
                }
            }
        }

        #[test]
        fn a_listed_scope_never_grows(listed in paths(), key in "[a-c]{1,3}(/[a-c]{1,3}){0,3}") {
            match ceiling(&[], &Scope::Listed(listed.clone())) {
                Err(TooLarge { bytes }) => prop_assert!(bytes > MAX_SESSION_BYTES),
                Ok(policy) => {
                    prop_assert!(policy.exact);
                    let within = |needed| listed.iter().any(|(p, a)| key.starts_with(p.as_str()) && *a >= needed);
                    prop_assert_eq!(allows(&policy, "s3:GetObject", &key), within(Access::Read));
                    prop_assert_eq!(allows(&policy, "s3:DeleteObject", &key), within(Access::Write));
                }
            }
        }
    }

    #[test]
    fn the_nearest_neighbours_are_widened_first() {
        let granted: Vec<(LakePath, Access)> = (0..30)
            .map(|i| (format!("users-warehouse/alice/runs/{i:02}").parse().unwrap(), Access::Read))
            .chain([("users-warehouse/bob".parse().unwrap(), Access::Write)])
            .collect();
        let policy = ceiling(&granted, &Scope::Granted).unwrap();
        assert!(!policy.exact);
        assert!(policy.json.contains("users-warehouse/alice/runs/*"));
        assert!(!allows(&policy, "s3:GetObject", "users-warehouse/alice/other"));
        assert!(!allows(&policy, "s3:PutObject", "users-warehouse/alice/runs/x"));
    }

    #[test]
    fn two_paths_too_long_to_fit_are_widened_too() {
        let long = |c: &str| (vec![c.repeat(200); 5].join("/").parse().unwrap(), Access::Write);
        let policy = ceiling(&[long("a"), long("b")], &Scope::Granted).unwrap();
        assert!(!policy.exact && policy.bytes <= MAX_SESSION_BYTES);
    }

    proptest! {
        #[test]
        fn narrowing_gives_what_both_allow_and_no_more(
            granted in paths(),
            wanted in "[a-c]{0,3}(/[a-c]{1,3}){0,2}",
            action in prop_oneof![Just("s3:*"), Just("s3:Get*"), Just("*"), Just("s3:PutObject")],
            key in "[a-c]{1,3}(/[a-c]{1,3}){0,3}",
        ) {
            let json = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"arn:aws:s3:::cdm-lake/{wanted}*"}}]}}"#
            );
            let narrowing = Narrowing::parse(&json).unwrap();
            let templates = Templates::built_in();
            let narrowed = SessionPolicy::ceiling(&templates, "cdm-lake", &granted, &Scope::Granted, Some(&narrowing));
            prop_assume!(narrowed.is_ok());
            let narrowed = narrowed.unwrap();
            let within = |needed| granted.iter().any(|(p, a)| key.starts_with(p.as_str()) && *a >= needed);
            let fits = key.starts_with(&wanted);
            let (reads, writes) = (action != "s3:PutObject", action != "s3:Get*");
            prop_assert_eq!(allows(&narrowed, "s3:GetObject", &key), fits && reads && within(Access::Read));
            prop_assert_eq!(allows(&narrowed, "s3:PutObject", &key), fits && writes && within(Access::Write));
            prop_assert!(!narrowed.json.contains("admin:"));
        }
    }

    #[test]
    fn nothing_granted_is_nothing_allowed() {
        let policy = ceiling(&[], &Scope::Granted).unwrap();
        assert!(policy.exact && !policy.json.contains("Object"));
    }
}
