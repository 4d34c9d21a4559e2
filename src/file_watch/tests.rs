//! The four ways of replacing files: written anew, renamed, a link that is set anew, a directory that is swapped.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Waits for a notice about the pair, and returns its version then. A poll would come too late for the test's patience.
async fn next_version(watch: &mut FileWatch, files: [&Path; 2]) -> Version {
    timeout(Duration::from_secs(10), watch.changed()).await.expect("a change wakes the owner");
    watch.set(files, None);
    Version::read(files)
}

type Replace = fn(&Path, &str);

#[tokio::test]
async fn each_way_of_replacing_files_is_noticed_again_and_again() {
    let ways: [(&str, Replace); 4] = [
        ("rewrite", |root, text| {
            fs::write(root.join("live/cert"), text).unwrap();
            fs::write(root.join("live/key"), text).unwrap();
        }),
        ("rename", |root, text| {
            for name in ["cert", "key"] {
                fs::write(root.join("live/new"), text).unwrap();
                fs::rename(root.join("live/new"), root.join("live").join(name)).unwrap();
            }
        }),
        ("link swap", |root, text| {
            let version = root.join("live").join(format!("..{text}"));
            fs::create_dir(&version).unwrap();
            for name in ["cert", "key"] {
                fs::write(version.join(name), text).unwrap();
                let link = root.join("live").join(name);
                if !link.is_symlink() {
                    let _ = fs::remove_file(&link);
                    symlink(format!("..data/{name}"), link).unwrap();
                }
            }
            symlink(format!("..{text}"), root.join("live/..new")).unwrap();
            fs::rename(root.join("live/..new"), root.join("live/..data")).unwrap();
        }),
        ("directory swap", |root, text| {
            fs::create_dir(root.join("next")).unwrap();
            for name in ["cert", "key"] {
                fs::write(root.join("next").join(name), text).unwrap();
            }
            let _ = fs::remove_dir_all(root.join("old"));
            fs::rename(root.join("live"), root.join("old")).unwrap();
            fs::rename(root.join("next"), root.join("live")).unwrap();
        }),
    ];
    for (way, replace) in ways {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("live")).unwrap();
        let (cert, key) = (root.join("live/cert"), root.join("live/key"));
        let files = [cert.as_path(), key.as_path()];
        for file in files {
            fs::write(file, "first").unwrap();
        }
        let mut watch = FileWatch::new();
        watch.set(files, None);
        assert!(watch.watcher.is_some(), "the system reports changes");
        for text in ["second", "third", "fourth"] {
            replace(&root, text);
            let expected = || fs::read_to_string(&cert).unwrap() == text && fs::read_to_string(&key).unwrap() == text;
            assert!(expected(), "{way}");
            let mut seen = next_version(&mut watch, files).await;
            while seen != Version::read(files) {
                seen = next_version(&mut watch, files).await;
            }
        }
    }
}

#[tokio::test]
async fn neither_reading_nor_the_neighbours_of_a_file_wake_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("cert");
    fs::write(&file, "1").unwrap();
    let mut watch = FileWatch::new();
    watch.set([file.as_path()], None);
    // The events of a directory come in order, so that the last one shows what those before it did.
    fs::read(&file).unwrap();
    fs::write(folder.path().join("log"), "line").unwrap();
    assert!(timeout(Duration::from_millis(50), watch.changed()).await.is_err());
    fs::write(&file, "2").unwrap();
    timeout(Duration::from_secs(10), watch.changed()).await.expect("a change wakes the owner");
}

#[tokio::test]
async fn a_new_file_in_a_watched_folder_wakes_the_owner_and_so_does_a_new_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().canonicalize().unwrap().join("conf.d");
    let mut watch = FileWatch::new();
    let mut wakes = async |change: &dyn Fn()| {
        watch.set([], Some(folder.as_path()));
        change();
        timeout(Duration::from_secs(10), watch.changed()).await.expect("a change wakes the owner");
    };
    wakes(&|| fs::create_dir(&folder).unwrap()).await;
    wakes(&|| fs::write(folder.join("a.toml"), "1").unwrap()).await;
    wakes(&|| fs::rename(folder.join("a.toml"), folder.join("b.toml")).unwrap()).await;
    wakes(&|| fs::remove_file(folder.join("b.toml")).unwrap()).await;
}
