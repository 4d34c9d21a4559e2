//! Backups and exports as files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{command, ctl, run};
use crate::support::server_harness::ServerHarness;

#[test]
fn a_backup_is_written_whole_for_its_owner_alone_and_replaces_nothing_unasked() {
    let (harness, folder) = (ServerHarness::open(), tempfile::tempdir().unwrap());
    harness.empty("shop-1");
    let file = folder.path().join("signalbox.tar");
    let name = file.to_str().unwrap();
    let made = ctl(&harness, &["--json", "backup", name]).json();
    assert_eq!(made["manifest"]["sessions"], 1, "{made}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    ctl(&harness, &["backup", name]).fails(1, "exists already");
    assert!(fs::read(&file).unwrap() == before);
    assert_eq!(ctl(&harness, &["backup", "--force", name]).code, 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    ctl(&harness, &["backup", "/nowhere/b.tar"]).fails(1, "/nowhere/b.tar");
    let checked = run(&["--json", "restore", "--check", name]).json();
    assert_eq!(checked["manifest"]["sessions"], 1);
    let store = format!("sqlite://{}", folder.path().join("s.db").display());
    let restored = run(&["--json", "restore", name, "--store-url", &store]).json();
    assert!(restored["continues_at"].as_u64().unwrap() > 1_000_000_000, "{restored}");
    fs::write(&file, "not a backup").unwrap();
    run(&["restore", name, "--store-url", &store]).fails(1, "is not a backup of Signalbox");
}

#[test]
fn an_export_goes_to_the_output_or_to_a_file_and_is_imported_from_one() {
    let (harness, other, folder) = (ServerHarness::open(), ServerHarness::open(), tempfile::tempdir().unwrap());
    harness.empty("shop-1");
    let file = folder.path().join("instances.json");
    let name = file.to_str().unwrap();
    let printed = ctl(&harness, &["export"]);
    assert_eq!(ctl(&harness, &["export", name]).code, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    let dry = ctl(&other, &["--json", "import", "--dry-run", name]).json();
    assert_eq!((&dry["created"], &dry["dry_run"]), (&1.into(), &true.into()));
    let imported = ctl(&other, &["import", name]);
    assert!(imported.code == 0 && imported.out.contains("shop/shop-1"), "{imported:?}");
    ctl(&harness, &["import", name])
        .fails(5, "nothing was imported, because 1 of 1 instances are refused: shop/shop-1");
    for words in [&["--dry-run"][..], &["--partial"]] {
        let told = ctl(&harness, &[&["import", name], words].concat());
        assert!(told.code == 1 && told.err.contains("1 of 1 instances"), "{told:?}");
        assert!(told.out.contains("shop/shop-1  refused") && told.out.contains("is held by a session"), "{told:?}");
    }
    let none = command(&["import", "/nowhere/x.json"]).output().unwrap();
    assert!(!none.status.success());
}
