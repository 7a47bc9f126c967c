//! Prefers nodes that already have the pod's images: by size, and less for an image that only few nodes have, so
//! that one node does not draw all pods to itself.

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{MAX_NODE_SCORE, NodeScore, Plugin, Reads, Scale, Score};
use crate::pod::PodInfo;

/// Below this many bytes on the node nothing is gained.
const LEAST_BYTES: i64 = 23 * 1024 * 1024;
/// From this many bytes a container on, the score is full.
const MOST_BYTES_A_CONTAINER: i64 = 1000 * 1024 * 1024;

/// Upstream's ImageLocality.
#[derive(Debug)]
pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn reads(&self) -> Reads {
        Reads::NodeAndImages
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Score for ImageLocality {
    fn scale(&self) -> Scale {
        Scale::AsIs
    }

    /// `None` when no node has any of the images: all would get 0.
    fn for_pod<'a>(
        &'a self,
        pod: &'a PodInfo,
        cluster: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let images: Vec<(&str, usize)> = pod
            .images()
            .iter()
            .map(|image| (&**image, cluster.nodes_with_image(image)))
            .filter(|(_, nodes)| *nodes > 0)
            .collect();
        let locality = Locality { images, containers: pod.images().len(), nodes: cluster.len() };
        (!locality.images.is_empty()).then(|| Box::new(locality) as Box<dyn NodeScore + 'a>)
    }
}

#[derive(Debug)]
struct Locality<'a> {
    /// Image names with the number of nodes that have each.
    images: Vec<(&'a str, usize)>,
    containers: usize,
    nodes: usize,
}

impl NodeScore for Locality<'_> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "upstream's arithmetic")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let bytes: i64 = self
            .images
            .iter()
            .filter_map(|(image, nodes)| Some((*node.images.get(*image)?, *nodes)))
            .map(|(size, nodes)| (size as f64 * (nodes as f64 / self.nodes as f64)) as i64)
            .sum();
        let most = MOST_BYTES_A_CONTAINER * i64::try_from(self.containers).unwrap_or(1);
        MAX_NODE_SCORE * (bytes.clamp(LEAST_BYTES, most) - LEAST_BYTES) / (most - LEAST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{cluster, node, pod, scores_in};
    use serde_json::{Value, json};

    fn with_images(name: &str, images: &[(&str, i64)]) -> NodeInfo {
        let images: Vec<Value> =
            images.iter().map(|(name, mb)| json!({"names": [name], "sizeBytes": mb * 1024 * 1024})).collect();
        node(name, json!({"status": {"images": images}}))
    }

    #[test]
    fn score_table() {
        let one = with_images("one", &[("web:latest", 250), ("big:1", 4000)]);
        let two = with_images("two", &[("web:latest", 250)]);
        let cluster = cluster([one, two]);
        for (name, images, want) in [
            // 250 MB on both nodes: (250-23)/(1000-23).
            ("untagged means latest", json!([{"name": "c", "image": "web"}]), [23, 23]),
            // 4000 MB on one node of two counts half, and is capped.
            ("capped", json!([{"name": "c", "image": "big:1"}]), [100, 0]),
            ("unknown", json!([{"name": "c", "image": "other"}]), [0, 0]),
            // (2000+250-23)/(2000-23) is capped; 250 against two containers' worth.
            (
                "two containers",
                json!([{"name": "c", "image": "web"}, {"name": "d", "image": "big:1"}]),
                [100, 11],
            ),
        ] {
            let pod = pod("p", json!({"containers": images}));
            assert_eq!(scores_in(&ImageLocality, &pod, &cluster), want, "{name}");
        }
    }
}
