//! Service account tokens: signed by this server, never stored, bound to what they were made for.
//!
//! Promise: a token is an identity only while its signature, times and audience are right and the service
//! account, and the pod it is bound to, are still the same objects. ES256 JSON web tokens with the claims of
//! KEP-1205. Source: kubernetes `pkg/serviceaccount`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::User;
use super::impersonation::service_account_groups;

/// Who signs: also the default audience.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The key that signs and verifies.
pub(crate) struct Tokens {
    pair: EcdsaKeyPair,
    key_id: String,
}

/// Why no key can be made or used.
#[derive(Debug, thiserror::Error)]
#[error("the key for service account tokens cannot be used: {0}")]
pub struct KeyError(String);

/// What a token says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    pub nbf: i64,
    pub sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Bound {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    pub serviceaccount: Named,
}

/// An object that must stay the same.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Named {
    pub name: String,
    pub uid: String,
}

impl Tokens {
    /// Signs with this key.
    pub(crate) fn new(pair: &KeyPair) -> Result<Self, KeyError> {
        let pkcs8 = pair.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &SystemRandom::new())
            .map_err(|error| KeyError(error.to_string()))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Self { pair, key_id })
    }

    /// Signs with a key that ends with the process.
    pub(crate) fn ephemeral() -> Result<Self, KeyError> {
        Self::new(&KeyPair::generate().map_err(|error| KeyError(error.to_string()))?)
    }

    /// The token for these claims.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let header = json!({ "alg": "ES256", "kid": self.key_id });
        let claims = serde_json::to_vec(claims).map_err(|error| KeyError(error.to_string()))?;
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|error| KeyError(error.to_string()))?;
        Ok(format!("{signed}.{}", encode(signature.as_ref())))
    }

    /// The claims of a token whose signature is ours and whose time is now.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.iss == ISSUER && claims.nbf <= now && now < claims.exp).then_some(claims)
    }

    /// The public key as others verify with it (`/openid/v1/jwks`).
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: a 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        json!({ "keys": [{ "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": encode(x), "y": encode(y) }] })
    }
}

impl Claims {
    /// The identity that the token stands for.
    pub(crate) fn user(&self) -> Option<User> {
        let groups = service_account_groups(&self.sub)?;
        let mut user = User::new(&self.sub, groups).with_uid(&self.kubernetes.serviceaccount.uid);
        let id = format!("JTI={}", self.jti);
        user = user.with_extra("authentication.kubernetes.io/credential-id", vec![id]);
        for (what, named) in [("pod", &self.kubernetes.pod), ("node", &self.kubernetes.node)] {
            if let Some(named) = named {
                user = user
                    .with_extra(format!("authentication.kubernetes.io/{what}-name"), vec![named.name.clone()])
                    .with_extra(format!("authentication.kubernetes.io/{what}-uid"), vec![named.uid.clone()]);
            }
        }
        Some(user)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            aud: vec![ISSUER.to_owned()],
            exp: 100,
            iat: 10,
            nbf: 10,
            iss: ISSUER.to_owned(),
            sub: "system:serviceaccount:default:web".to_owned(),
            kubernetes: Bound {
                namespace: "default".to_owned(),
                serviceaccount: Named { name: "web".to_owned(), uid: "u".to_owned() },
                ..Bound::default()
            },
            ..Claims::default()
        }
    }

    #[test]
    fn a_token_is_good_for_its_time_and_its_signer() {
        let tokens = Tokens::ephemeral().unwrap();
        let token = tokens.sign(&claims()).unwrap();
        assert_eq!(tokens.verify(&token, 50), Some(claims()));
        assert_eq!(tokens.verify(&token, 100), None);
        assert_eq!(tokens.verify(&token, 9), None);
        assert_eq!(Tokens::ephemeral().unwrap().verify(&token, 50), None);
        let mut forged = token.into_bytes();
        forged[60] ^= 1;
        assert_eq!(tokens.verify(&String::from_utf8_lossy(&forged), 50), None);
    }

    #[test]
    fn the_user_is_the_service_account() {
        let user = claims().user().unwrap();
        assert_eq!(user.name(), "system:serviceaccount:default:web");
        assert!(user.is_in("system:serviceaccounts:default") && user.is_in("system:authenticated"));
    }
}
