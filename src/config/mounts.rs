//! Mounts of an agent.

use std::path::{Component, Path};

use crate::{
    config::{agents::Checker, checks::Files, mount_sources, repositories, settings::Settings},
    domain::{
        agent::CLOSED_PLACES,
        id::UploadId,
        mount::{MountSpec, UploadMount},
        path::without_dots,
        source::is_valid_name,
    },
};

struct Mount<'a> {
    host: &'a str,
    container: &'a str,
    mode: &'static str,
}

/// Checks mounts and makes their host paths absolute; `ro` is written out where nothing was said.
pub(crate) fn check(mounts: &mut [MountSpec], files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    let mut containers: Vec<String> = Vec::new();
    for (index, mount) in mounts.iter_mut().enumerate() {
        let index = index.to_string();
        let path = ["mounts", index.as_str()];
        let container = match mount {
            MountSpec::Host(mount) => check_host(&path, mount, files, settings, checker),
            MountSpec::Git(mount) => {
                repositories::check(&path, mount, files, settings, checker);
                mount.to = mount.to.trim_end_matches('/').to_owned();
                Some(mount.to.clone())
            }
            MountSpec::Upload(mount) => {
                check_upload(&path, mount, files, checker);
                Some(mount.to.clone())
            }
        };
        let Some(container) = container else { continue };
        if let Some(fault) = container_fault(&container) {
            checker.error(
                &path,
                format!("`{}` {fault}", if container.is_empty() { "/" } else { &container }),
                "mount below /context, such as ./handbook:/context/handbook:ro",
            );
        }
        if let Some(other) = containers.iter().find(|other| clash(other, &container)) {
            checker.error(
                &path,
                format!("`{container}` lies over `{other}`, which is mounted too"),
                "mount them side by side",
            );
        }
        containers.push(container);
    }
}

/// Whether it is there is known where it is applied.
fn check_upload(path: &[&str; 2], mount: &mut UploadMount, files: Files<'_>, checker: &mut Checker<'_>) {
    let [list, index] = *path;
    mount.to = mount.to.trim_end_matches('/').to_owned();
    if !is_valid_name(&mount.upload) && mount.upload.parse::<UploadId>().is_err() {
        let fault = format!("`{}` is neither the name nor the id of an upload", mount.upload.escape_debug());
        checker.error(&[list, index, "upload"], fault, "see `postern uploads list`");
    }
    if !mount.path.is_empty() && !is_plain(&mount.path) {
        let help = "write it without `/` at either end, `.` and `..`, such as docs/api";
        checker.error(&[list, index, "path"], "`path` is not a plain path in the upload", help);
    }
    if mount.digest.is_some() && matches!(files, Files::Project(_)) {
        let fault = "`digest` is written by the server when the agent is applied";
        checker.error(&[list, index, "digest"], fault, "remove it; name an id instead of a name to pin the upload");
    }
}

/// A path below something: no `.`, no `..`, no `/` at either end.
pub(crate) fn is_plain(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.contains(['\0', '\n']) && !path.ends_with('/')
}

/// Where it is mounted, when it can be read at all.
fn check_host(
    path: &[&str],
    mount: &mut String,
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) -> Option<String> {
    if let Some(mode) = wrong_mode(mount) {
        let message = format!("`{mode}` at the end of `{mount}` is neither `ro` nor `rw`");
        checker.error(path, message, "end it in `:ro` to be read, in `:rw` to be written");
        return None;
    }
    let Some(read) = parse(mount) else {
        checker.error(
            path,
            format!("`{mount}` is no mount"),
            "write host:/container, host:/container:ro or host:/container:rw",
        );
        return None;
    };
    let container = read.container.trim_end_matches('/').to_owned();
    let host = match files {
        Files::Project(_) => without_dots(&files.absolute(read.host)),
        Files::Sent(_) => files.absolute(read.host),
    };
    if !host.is_absolute() {
        checker.error(path, format!("`{}` is not absolute", read.host), "write the path on the workers' machines");
    }
    if matches!(files, Files::Project(_)) && !host.exists() {
        checker.error(
            path,
            format!("`{}` is not there to be mounted", read.host),
            format!("make {} or correct the path", host.display()),
        );
    } else if host.is_absolute() {
        mount_sources::check(path, (read.host, read.mode), files, settings, checker);
    }
    if read.mode == "rw" {
        checker.warning(
            path,
            format!("the agent can write to {}", host.display()),
            "end it in `:ro` unless that is meant",
        );
    }
    let host = mount_sources::judged(read.host, files).unwrap_or_else(|| host.display().to_string());
    *mount = format!("{host}:{container}:{}", read.mode);
    Some(container)
}

/// What stands where the mode does: behind a path inside.
fn wrong_mode(text: &str) -> Option<&str> {
    let (rest, mode) = text.rsplit_once(':')?;
    let is_behind_path =
        rest.rsplit_once(':').is_some_and(|(host, inside)| !host.is_empty() && inside.starts_with('/'));
    (is_behind_path && !mode.starts_with('/') && !matches!(mode, "ro" | "rw")).then_some(mode)
}

fn parse(text: &str) -> Option<Mount<'_>> {
    let (rest, mode) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, "ro"),
        Some((rest, "rw")) => (rest, "rw"),
        Some(_) | None => (text, "ro"),
    };
    let (host, container) = rest.rsplit_once(':')?;
    (!host.is_empty() && !container.is_empty() && !text.contains('\0')).then_some(Mount { host, container, mode })
}

fn container_fault(container: &str) -> Option<&'static str> {
    let path = Path::new(container);
    if container.is_empty() || container == "/" {
        return Some("is the whole file system");
    }
    if !path.is_absolute() {
        return Some("is not absolute in the container");
    }
    if path.components().any(|part| matches!(part, Component::ParentDir))
        || container.split('/').any(|part| part == ".")
    {
        return Some("has `.` or `..` in it");
    }
    CLOSED_PLACES.iter().any(|closed| clash(closed, container)).then_some("belongs to the system")
}

/// Whether one is the other or lies inside it.
fn clash(one: &str, other: &str) -> bool {
    Path::new(one).starts_with(other) || Path::new(other).starts_with(one)
}
