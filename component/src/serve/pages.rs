//! Pages of a component's own, below a path of its server: what it knows, as JSON for debugging or as metrics.
//!
//! Promise: a page answers GETs only and changes nothing. The API server of an all-in-one shows the same pages, to
//! those whom it has authenticated and authorized.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::RwLock;
use serde_json::Value;

/// What is asked of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The path below the page's root, without a slash at either end.
    pub path: String,
    /// Parameters as they were written; later ones of a name replace earlier ones.
    pub query: BTreeMap<String, String>,
}

/// What a page shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// JSON.
    Json(Value),
    /// Metrics in Prometheus' text format.
    Metrics(String),
}

/// The answer of a page.
pub type Told = Pin<Box<dyn Future<Output = (StatusCode, Shown)> + Send>>;

type Page = Arc<dyn Fn(Asked) -> Told + Send + Sync>;

/// The pages of a process by their roots. Clones share them.
#[derive(Clone, Default)]
pub struct Pages(Arc<RwLock<BTreeMap<&'static str, Page>>>);

impl Pages {
    /// Answers everything at and below `root`, which begins with a slash and does not end with one.
    pub fn add<F>(&self, root: &'static str, page: impl Fn(Asked) -> F + Send + Sync + 'static)
    where
        F: Future<Output = (StatusCode, Value)> + Send + 'static,
    {
        let page = move |asked| -> Told {
            let told = page(asked);
            Box::pin(async {
                let (status, value) = told.await;
                (status, Shown::Json(value))
            })
        };
        self.0.write().insert(root, Arc::new(page));
    }

    /// Shows metrics at `root` that are worked out when somebody asks.
    pub fn add_metrics(&self, root: &'static str, metrics: impl Fn() -> String + Send + Sync + 'static) {
        let page = move |_| -> Told {
            let text = metrics();
            Box::pin(std::future::ready((StatusCode::OK, Shown::Metrics(text))))
        };
        self.0.write().insert(root, Arc::new(page));
    }

    /// The answer of the page that a path belongs to. `query` is the part after `?`.
    #[must_use]
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<Told> {
        let pages = self.0.read();
        let (page, below) = pages.iter().find_map(|(root, page)| {
            let below = path.strip_prefix(root)?;
            (below.is_empty() || below.starts_with('/')).then_some((page, below))
        })?;
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(page(Asked { path: below.trim_matches('/').to_owned(), query }))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_page_answers_below_its_root() {
        let pages = Pages::default();
        pages.add("/debug/x", async |asked: Asked| (StatusCode::OK, json!([asked.path, asked.query])));
        for (path, query, want) in [
            ("/debug/x", None, Some(json!(["", {}]))),
            ("/debug/x/", None, Some(json!(["", {}]))),
            ("/debug/x/a/b", Some("n=1&m"), Some(json!(["a/b", {"n": "1", "m": ""}]))),
            ("/debug/xy", None, None),
            ("/debug", None, None),
        ] {
            let told = match pages.answer(path, query) {
                Some(told) => Some(told.await.1),
                None => None,
            };
            assert_eq!(told, want.map(Shown::Json), "{path}");
        }
        pages.add_metrics("/metrics/x", || "x 1\n".to_owned());
        let told = pages.answer("/metrics/x", None).unwrap().await;
        assert_eq!(told, (StatusCode::OK, Shown::Metrics("x 1\n".to_owned())));
    }
}
