//! What another tool made of a MinIO is read into the ledger: who could do what before can after, but for what is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    drift::{everything, program},
    programs::said,
    support::{Keys, World, start_minio},
};

const LAYOUT: [(&str, &str); 2] = [
    ("LAKEPASS_HOME_TEMPLATES", "users-general-warehouse/{user}/,users-sql-warehouse/{user}/"),
    ("LAKEPASS_WORKSPACE_TEMPLATES", "tenant-general-warehouse/{group}/,tenant-sql-warehouse/{group}/"),
];

/// A policy as that tool builds it: one statement an action, paths with and without `/*`, parents of a path with `*`.
fn policy(bucket: &str, paths: &[(&str, bool)]) -> Value {
    let (mut list, mut get, mut put, mut delete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (path, write) in paths {
        let all = format!("{path}/*");
        let parent = path.ends_with('*').then(|| path.rsplit_once('/').unwrap().0);
        let parents = parent.into_iter().flat_map(|parent| [parent.to_owned(), format!("{parent}/*")]);
        let own: Vec<String> = [(*path).to_owned(), all.clone()].into_iter().chain(parents).collect();
        list.extend(own.clone());
        get.extend(own);
        if *write {
            put.extend([(*path).to_owned(), all.clone()]);
            delete.push(all);
        }
    }
    let arn = format!("arn:aws:s3:::{bucket}");
    let objects = |action: &str, keys: Vec<String>| {
        let resources: Vec<String> = keys.iter().map(|key| format!("{arn}/{key}")).collect();
        (!resources.is_empty()).then(|| json!({"Effect": "Allow", "Action": action, "Resource": resources}))
    };
    let statements = [
        Some(json!({"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": [arn]})),
        Some(json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": [arn],
            "Condition": {"StringLike": {"s3:prefix": list}}})),
        objects("s3:GetObject", get),
        objects("s3:PutObject", put),
        objects("s3:DeleteObject", delete),
    ];
    json!({"Version": "2012-10-17", "Statement": statements.into_iter().flatten().collect::<Vec<_>>()})
}

struct OtherTool<'a> {
    world: &'a World,
    host: String,
}

impl OtherTool<'_> {
    fn admin(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let arguments = [&["admin", words[0], words[1], "lake"], &words[2..]].concat();
        let said = mc(self.world, &self.host, &arguments);
        assert!(said.ok, "{arguments:?}: {}", said.text);
    }

    fn put_policy(&self, name: &str, policy: &Value) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        std::fs::write(&file, policy.to_string()).unwrap();
        self.admin(&format!("policy create {name} {}", file.display()));
    }

    /// A person with what the tool gives everybody, and with what was shared with them.
    fn user(&self, name: &str, shared: &[(&str, bool)]) {
        let own = [
            (format!("users-sql-warehouse/{name}/u_{name}__*"), true),
            (format!("users-sql-warehouse/{name}/iceberg"), true),
            (format!("users-general-warehouse/{name}"), true),
        ];
        let own = own.iter().map(|(path, write)| (path.as_str(), *write));
        let home = policy(&self.world.bucket, &own.chain(shared.iter().copied()).collect::<Vec<_>>());
        let system = policy("cdm-spark-job-logs", &[(&format!("spark-job-logs/{name}"), true)]);
        self.admin(&format!("user add {name} old-secret-of-{name}"));
        for (kind, policy) in [("home", home), ("system", system)] {
            self.put_policy(&format!("user-{kind}-policy-{name}"), &policy);
            self.admin(&format!("policy attach user-{kind}-policy-{name} --user {name}"));
        }
    }

    /// A group and its readers' twin.
    fn group(&self, name: &str, writers: &str, readers: &str, shared: &[(&str, bool)], with_readers: &[(&str, bool)]) {
        for (group, members, write, shared) in
            [(name.to_owned(), writers, true, shared), (format!("{name}ro"), readers, false, with_readers)]
        {
            let own = [
                (format!("tenant-sql-warehouse/{name}/{name}_*"), write),
                (format!("tenant-sql-warehouse/{name}/iceberg"), write),
                (format!("tenant-general-warehouse/{name}"), write),
            ];
            let own = own.iter().map(|(path, write)| (path.as_str(), *write));
            let paths: Vec<(&str, bool)> = own.chain(shared.iter().copied()).collect();
            self.put_policy(&format!("group-policy-{group}"), &policy(&self.world.bucket, &paths));
            self.admin(&format!("group add {group} {members}"));
            self.admin(&format!("policy attach group-policy-{group} --group {group}"));
        }
    }
}

const FOLDERS: [&str; 15] = [
    "users-general-warehouse/alice/",
    "users-general-warehouse/alice/shared/",
    "users-general-warehouse/alice/sharedx/",
    "users-general-warehouse/alice/group/",
    "users-general-warehouse/alice/writers/",
    "users-general-warehouse/bob/",
    "users-general-warehouse/bob/wild1/",
    "users-general-warehouse/alice2/",
    "users-sql-warehouse/alice/u_alice__db/",
    "users-sql-warehouse/alice/iceberg/",
    "users-sql-warehouse/alice/other/",
    "tenant-general-warehouse/kbase/",
    "tenant-sql-warehouse/kbase/kbase_db/",
    "tenant-general-warehouse/open/",
    "elsewhere/",
];

/// Each decision, by user, action and key.
async fn decisions(world: &World, keys: &BTreeMap<&str, Keys>) -> BTreeMap<(String, String, &'static str), bool> {
    let mut decisions = BTreeMap::new();
    for (user, keys) in keys {
        for folder in FOLDERS {
            let key = format!("{folder}seed");
            let mut say = |action, allowed| decisions.insert(((*user).to_owned(), folder.to_owned(), action), allowed);
            say("get", world.can_get(keys, &key).await);
            say("put", world.can_put(keys, &format!("{folder}new")).await);
            say("delete", world.can_delete(keys, &format!("{folder}none")).await);
            say("list", world.can_list(keys, folder).await);
        }
    }
    decisions
}

#[tokio::test]
async fn an_import_grants_what_was_granted_before() {
    let minio = start_minio().await;
    let world = World::on(&minio, &LAYOUT).await;
    let tool = OtherTool { world: &world, host: mc_host(&world, &world.root()) };
    let bucket = world.bucket.as_str();
    tool.user("alice", &[]);
    tool.user("alice2", &[]);
    tool.user("bob", &[("users-general-warehouse/alice/shared", true)]);
    // What sharing `…/bob/wild*` leaves behind: read on all that is bob's.
    tool.user("carol", &[("users-general-warehouse/bob/wild*", false), ("users-general-warehouse/nobody/x", false)]);
    tool.user("erin", &[]);
    tool.admin("user disable erin");
    let shared = ("users-general-warehouse/alice/group", false);
    tool.group("kbase", "alice", "bob", &[shared, ("users-general-warehouse/alice/writers", true)], &[shared]);
    tool.group("open", "alice alice2 bob carol", "alice", &[], &[]);
    // What cannot be said.
    tool.user("Bad.Name", &[]);
    tool.user("denied", &[]);
    let deny =
        json!([{"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": [format!("arn:aws:s3:::{bucket}/*")]}]);
    tool.put_policy("no-deleting", &json!({"Version": "2012-10-17", "Statement": deny}));
    tool.admin("policy attach no-deleting --user denied");
    tool.admin("user add operator a-secret-of-it");
    let old = |name: &'static str| {
        let secret_key = format!("old-secret-of-{name}");
        (name, Keys { access_key: name.to_owned(), secret_key, session_token: None })
    };
    let names = ["alice", "alice2", "bob", "carol"];
    let old_keys: BTreeMap<&str, Keys> = names.map(old).into();
    for folder in FOLDERS {
        world.seed(&format!("{folder}seed")).await;
    }
    let before = decisions(&world, &old_keys).await;

    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("later/audit.jsonl");
    let import = |arguments: &[&str]| {
        let mut command = program(&world, arguments);
        command.envs(LAYOUT).env("LAKEPASS_AUDIT", &audit).env("LAKEPASS_AUDIT_REQUIRED", "true");
        let output = command.output().unwrap();
        (output.status.code(), said(&output))
    };
    let at_minio = format!("{:?}", everything(&world).await);
    let (status, dry) = import(&["import"]);
    assert_eq!(status, Some(3), "{dry}");
    assert_eq!(format!("{:?}", everything(&world).await), at_minio, "a dry run changes nothing");
    let admin = world.admin().await;
    assert_eq!(world.get(&admin, "/admin/users").await.json["users"], json!([]));
    for line in [
        "user alice\n",
        "user erin (disabled)\n",
        "group kbase: alice (writer), bob (reader)\n",
        "grant to user bob: users-general-warehouse/alice/shared/ (write)\n",
        "grant to user carol: users-general-warehouse/bob/ (read)\n",
        "grant to group kbase: users-general-warehouse/alice/group/ (read)\n",
        "NOT THE SAME: user Bad.Name: is not imported",
        "NOT THE SAME: user denied: is not imported: the policy `no-deleting` denies something",
        "NOT THE SAME: user operator: is not imported",
        "NOT THE SAME: user alice: the policy `user-system-policy-alice` allows to write `arn:aws:s3:::cdm-spark-job-logs",
        "NOT THE SAME: user alice: `users-sql-warehouse/alice/` is gained: write, delete\n",
        "NOT THE SAME: user carol: `users-general-warehouse/nobody/x/` is lost: its owner is not here\n",
        "NOT THE SAME: group kbase: `tenant-sql-warehouse/kbase/` is gained: write, delete\n",
        "NOT THE SAME: group kbasero: `users-general-warehouse/alice/writers/` is gained: list, read\n",
    ] {
        assert!(dry.contains(line), "{line} in:\n{dry}");
    }

    let (status, text) = import(&["import", "--apply"]);
    assert!(status == Some(1) && text.contains("cannot be recorded"), "{text}");
    assert_eq!(world.get(&admin, "/admin/users").await.json["users"], json!([]));
    std::fs::create_dir(audit.parent().unwrap()).unwrap();
    for _ in 0..2 {
        let (status, text) = import(&["import", "--apply"]);
        assert!(status == Some(3) && text.ends_with("This is in the ledger now.\n"), "{text}");
    }
    let lines = std::fs::read_to_string(&audit).unwrap();
    for (action, subject, owner) in [
        ("import user", "carol", None),
        ("import group", "kbase: alice, bob", None),
        ("import share", "users-general-warehouse/bob/ with user carol (read)", Some("bob")),
        ("disable", "erin", None),
    ] {
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut done = lines.filter(|line| (&line["action"], &line["result"]) == (&json!(action), &json!("done")));
        let line = done.find(|line| line["subject"] == subject).unwrap_or_else(|| panic!("{action} {subject}"));
        assert_eq!((line["actor"].as_str(), line["as"].as_str()), (Some("operator"), owner), "{line}");
        assert!(line["ledger"].is_object(), "{line}");
    }
    let after = everything(&world).await;
    let foreign = |name: &str| !name.starts_with("lakepass-");
    let left = |mut all: lakepass::minio::Inventory| {
        all.users.retain(|name, _| foreign(name));
        all.groups.retain(|name, _| foreign(name));
        all.policies.retain(|name, _| foreign(name));
        format!("{all:?}")
    };
    assert_eq!(left(after), at_minio, "what is the other tool's is as it was");
    assert!(world.broker.drift().await.unwrap().is_empty());

    let mut new_keys = BTreeMap::new();
    for name in names {
        let person = world.stranger(name, &["BERDL_USER"]);
        new_keys.insert(name, world.session(&person, json!("lake")).await);
    }
    let erin = world.stranger("erin", &["BERDL_USER"]);
    assert_eq!(world.post(&erin, "/sessions", Value::Null).await.status, 403, "disabled before, disabled after");
    let after = decisions(&world, &new_keys).await;
    let differ = before.iter().filter(|(what, allowed)| after[*what] != **allowed);
    let differ: BTreeSet<(&str, &str, &str, bool)> =
        differ.map(|((user, folder, action), was)| (user.as_str(), folder.as_str(), *action, *was)).collect();
    let told = [
        // `users-sql-warehouse/alice/` is gained.
        ("alice", "users-sql-warehouse/alice/other/", "put", false),
        ("alice", "users-sql-warehouse/alice/other/", "delete", false),
        // `users-general-warehouse/alice/writers/` is gained by the readers.
        ("bob", "users-general-warehouse/alice/writers/", "get", false),
        ("bob", "users-general-warehouse/alice/writers/", "list", false),
    ];
    assert_eq!(differ, BTreeSet::from(told));
    let given =
        world.get(&world.stranger("alice", &["BERDL_USER"]), "/users/alice").await.json["grants_given"].to_string();
    assert!(given.contains("users-general-warehouse/alice/shared"), "{given}");
}
