//! Health checks and their texts.
//!
//! Promise: the answers read as those of `k8s.io/apiserver/pkg/server/healthz`: `ok`, or one line a check and a
//! verdict. Reasons of a failure are withheld in the list and given at the check's own path.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::StatusCode;
use parking_lot::RwLock;

use super::slis::Slis;
use crate::informers::Informers;
use crate::ready::Readiness;

/// The endpoints, by the question they answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// `/livez` and `/healthz`: would a restart help?
    Live,
    /// `/readyz`: should it get requests?
    Ready,
}

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks of a process. Clones share them.
#[derive(Clone)]
pub struct Health {
    checks: Arc<RwLock<Vec<(String, Question, Check)>>>,
    readiness: Readiness,
    pub(super) slis: Slis,
}

impl Health {
    /// A process that is healthy, and ready as soon as `readiness` is.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        let health = Self { checks: Arc::default(), readiness, slis: Slis::default() };
        health.live("ping", || Ok(()));
        health
    }

    /// Adds a check to all three endpoints. It must not wait; an error is the reason.
    pub fn live(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.write().push((name.to_owned(), Question::Live, Arc::new(check)));
    }

    /// Adds a check to `/readyz` only.
    pub fn ready(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.write().push((name.to_owned(), Question::Ready, Arc::new(check)));
    }

    /// Adds upstream's check `informer-sync` to `/readyz`: every informer asked for holds its first list.
    pub fn informers(&self, informers: &Informers) {
        let informers = informers.clone();
        self.ready("informer-sync", move || match informers.unsynced().as_slice() {
            [] => Ok(()),
            paths => Err(format!("not listed yet: {}", paths.join(", "))),
        });
    }

    /// Whether `/readyz` would say `ok`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks(Question::Ready).iter().all(|(_, check)| check().is_ok())
    }

    /// Status and body for a path below `/healthz`, `/livez` or `/readyz`; `None` for others and unknown checks.
    pub(super) fn answer(&self, path: &str, query: &str) -> Option<(StatusCode, String)> {
        let mut parts = path.strip_prefix('/')?.splitn(2, '/');
        let endpoint = parts.next()?;
        let question = match endpoint {
            "healthz" | "livez" => Question::Live,
            "readyz" => Question::Ready,
            _ => return None,
        };
        let checks = self.checks(question);
        match parts.next().filter(|name| !name.is_empty()) {
            None => Some(self.verdict(endpoint, &checks, query)),
            Some(name) => {
                let (_, check) = checks.iter().find(|(known, _)| known == name)?;
                Some(match check() {
                    Ok(()) => (StatusCode::OK, "ok".to_owned()),
                    Err(why) => {
                        (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n"))
                    }
                })
            }
        }
    }

    /// The answer of a whole endpoint.
    fn verdict(&self, endpoint: &str, checks: &[(String, Check)], query: &str) -> (StatusCode, String) {
        let parameters = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let verbose = parameters().any(|(name, _)| name == "verbose");
        let mut excluded: BTreeSet<&str> =
            parameters().filter(|(name, _)| *name == "exclude").map(|(_, value)| value).collect();

        let (mut lines, mut failed) = (String::new(), Vec::new());
        for (name, check) in checks {
            if excluded.remove(name.as_str()) {
                let _ = writeln!(lines, "[+]{name} excluded: ok");
                continue;
            }
            let checked = check();
            self.slis.saw(endpoint, name, checked.is_ok());
            let _ = if let Err(why) = checked {
                failed.push(format!("{name}: {why}"));
                writeln!(lines, "[-]{name} failed: reason withheld")
            } else {
                writeln!(lines, "[+]{name} ok")
            };
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {names}");
        }
        if !failed.is_empty() {
            tracing::debug!(endpoint, checks = ?failed, "health check failed");
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{endpoint} check failed\n"));
        }
        let body = if verbose { format!("{lines}{endpoint} check passed\n") } else { "ok".to_owned() };
        (StatusCode::OK, body)
    }

    fn checks(&self, question: Question) -> Vec<(String, Check)> {
        let checks = self.checks.read();
        let asked = checks.iter().filter(|(_, of, _)| *of == Question::Live || *of == question);
        let mut checks: Vec<_> = asked.map(|(name, _, check)| (name.clone(), Arc::clone(check))).collect();
        if question == Question::Ready {
            for name in self.readiness.unfinished() {
                let check: Check = Arc::new(move || Err(format!("{name} is not finished")));
                checks.push((name.to_owned(), check));
            }
        }
        checks
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.read().iter().map(|(name, ..)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_upstreams() {
        let readiness = Readiness::new();
        let guard = readiness.wait_for("informer-sync");
        let health = Health::new(readiness);
        health.live("disk", || Ok(()));
        let get = |path: &str, query: &str| {
            health.answer(path, query).map(|(status, body)| (status.as_u16(), body)).unwrap_or_default()
        };
        let is = |status: u16, body: &str| (status, body.to_owned());

        assert_eq!(get("/healthz", ""), is(200, "ok"));
        assert_eq!(get("/livez", "verbose"), is(200, "[+]ping ok\n[+]disk ok\nlivez check passed\n"));
        assert_eq!(
            get("/readyz", ""),
            is(
                500,
                "[+]ping ok\n[+]disk ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n"
            )
        );
        assert_eq!(
            get("/readyz", "verbose=true&exclude=informer-sync"),
            is(200, "[+]ping ok\n[+]disk ok\n[+]informer-sync excluded: ok\nreadyz check passed\n")
        );
        assert_eq!(
            get("/livez", "verbose&exclude=nothing"),
            is(
                200,
                "[+]ping ok\n[+]disk ok\nwarn: some health checks cannot be excluded: no matches for \
                 \"nothing\"\nlivez check passed\n"
            )
        );
        assert_eq!(get("/readyz/ping", ""), is(200, "ok"));
        assert_eq!(
            get("/readyz/informer-sync", ""),
            is(500, "internal server error: informer-sync is not finished\n")
        );
        assert_eq!(get("/readyz/other", ""), (0, String::new()));
        assert_eq!(get("/other", ""), (0, String::new()));
        let told = health.slis.encode();
        for line in [
            "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1",
            "kubernetes_healthcheck{name=\"informer-sync\",type=\"readyz\"} 0",
            "kubernetes_healthchecks_total{name=\"disk\",status=\"success\",type=\"livez\"} 2",
            "kubernetes_healthchecks_total{name=\"informer-sync\",status=\"error\",type=\"readyz\"} 1",
        ] {
            assert!(told.contains(line), "{line} is missing in\n{told}");
        }
        assert!(!health.is_ready());
        drop(guard);
        assert!(health.is_ready());
        assert_eq!(get("/readyz", ""), is(200, "ok"));
    }
}
