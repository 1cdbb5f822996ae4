//! Files that change after the folder is opened and before its weights are read.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::Path;

use super::{folder_with, open, sound_file};
use crate::error::Code;
use crate::hub::fingerprint;

/// Opens a folder, changes its weight file, and returns the result of the check.
fn changed_by(change: impl FnOnce(&Path)) -> crate::error::Result<()> {
    let folder = folder_with(&[]);
    let opened = open(folder.path()).unwrap();
    opened.check_unchanged().unwrap();
    change(&opened.weight_files[0].path);
    opened.check_unchanged()
}

#[track_caller]
fn refused(outcome: crate::error::Result<()>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::ModelLoadError);
    assert!(error.message().contains("model.safetensors"), "{error}");
}

#[test]
fn reading_a_file_does_not_count_as_a_change() {
    changed_by(|path| drop(fs::read(path).unwrap())).unwrap();
}

#[test]
fn the_error_about_a_truncated_replaced_or_missing_weight_file_names_it() {
    refused(changed_by(|path| File::options().write(true).open(path).unwrap().set_len(10).unwrap()));
    refused(changed_by(|path| fs::remove_file(path).unwrap()));
    refused(changed_by(|path| {
        let other = path.with_extension("new");
        fs::write(&other, sound_file()).unwrap();
        fs::rename(other, path).unwrap();
    }));
}

#[test]
fn a_weight_file_overwritten_in_place_is_detected_even_with_the_same_length_and_modification_time() {
    refused(changed_by(|path| {
        let modified = path.metadata().unwrap().modified().unwrap();
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(&sound_file()).unwrap();
        file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    }));
}

#[test]
fn the_fingerprint_is_that_of_the_opened_files() {
    let folder = folder_with(&[]);
    let opened = open(folder.path()).unwrap();
    let before = fingerprint(&opened).unwrap();
    fs::write(folder.path().join("model.safetensors"), sound_file()).unwrap();
    assert_eq!(fingerprint(&opened).unwrap(), before);
    assert_ne!(fingerprint(&open(folder.path()).unwrap()).unwrap(), before);
}
