//! Joining: a machine becomes a node of a control plane.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    HttpUrl, NodeId,
    invalid::InvalidField,
    limits::{MAX_PEM_BYTES, MAX_SECRET_BYTES},
};

/// 128 random bits.
const CHALLENGE_DIGITS: usize = 32;

/// A secret on its way. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretText(String);

impl SecretText {
    /// Takes a secret of at most [`MAX_SECRET_BYTES`].
    ///
    /// # Errors
    /// When it is longer.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidField> {
        let text = text.into();
        if text.len() > MAX_SECRET_BYTES {
            let reason = format!("must have at most {MAX_SECRET_BYTES} bytes");
            return Err(InvalidField::new("token", reason));
        }
        Ok(Self(text))
    }

    /// The secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for SecretText {
    type Error = InvalidField;

    fn try_from(text: &str) -> Result<Self, InvalidField> {
        Self::new(text)
    }
}

impl TryFrom<String> for SecretText {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::new(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([REDACTED])")
    }
}

/// A certificate or a request for one, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PemText(String);

impl PemText {
    /// Takes a text of at most [`MAX_PEM_BYTES`].
    ///
    /// # Errors
    /// When it is longer.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidField> {
        let text = text.into();
        if text.len() > MAX_PEM_BYTES {
            let reason = format!("must have at most {MAX_PEM_BYTES} bytes of PEM");
            return Err(InvalidField::new("csr", reason));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PemText {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::new(text)
    }
}

/// What a machine that joins says at its address, so that the control plane knows that it has
/// reached that machine: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Challenge(String);

impl Challenge {
    /// From random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random)))
    }

    /// The line that the machine sends to each client that connects, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        format!("llorch-join {}\n", self.0)
    }
}

impl TryFrom<String> for Challenge {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == CHALLENGE_DIGITS && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        let reason = format!("must be {CHALLENGE_DIGITS} hexadecimal digits in lower case");
        Err(InvalidField::new("challenge", reason))
    }
}

/// `POST /v2/join`: a machine joins with a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct JoinRequest {
    /// The join token.
    #[cfg_attr(feature = "openapi", schema(value_type = String, max_length = 1024))]
    pub token: SecretText,
    /// The id that the node will have.
    pub node_id: NodeId,
    /// Where the control plane will reach the node.
    pub address: HttpUrl,
    /// A certificate signing request (PKCS #10). Needed where the control plane has a CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 16384))]
    pub csr: Option<PemText>,
    /// What the machine sends to each client that connects to `address` while it joins, on a line
    /// behind `llorch-join` and a space. The control plane then connects, and refuses a machine
    /// that it does not reach. Without it nothing is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(
        value_type = Option<String>, min_length = 32, max_length = 32, pattern = "^[0-9a-f]{32}$"
    ))]
    pub challenge: Option<Challenge>,
}

impl JoinRequest {
    /// A request without a certificate signing request.
    #[must_use]
    pub fn new(token: SecretText, node_id: NodeId, address: HttpUrl) -> Self {
        Self {
            token,
            node_id,
            address,
            csr: None,
            challenge: None,
        }
    }

    /// Asks for a certificate.
    #[must_use]
    pub fn with_csr(mut self, csr: PemText) -> Self {
        self.csr = Some(csr);
        self
    }

    /// Asks the control plane to connect to the address before the machine joins.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }
}

/// The credential of a node. It has either a certificate or a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct JoinResponse {
    /// The node.
    pub node_id: NodeId,
    /// Its certificate, and that of the CA behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 16384))]
    pub certificate: Option<PemText>,
    /// The certificate of the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 16384))]
    pub ca_certificate: Option<PemText>,
    /// The token that it presents to the control plane, where that has no CA. It is shown this
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 1024))]
    pub token: Option<SecretText>,
    /// The SHA-256 of the token that the control plane presents to the node, where that has no CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub control_plane_token_sha256: Option<String>,
}

impl JoinResponse {
    /// The answer to a node that gets nothing yet.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            certificate: None,
            ca_certificate: None,
            token: None,
            control_plane_token_sha256: None,
        }
    }
}

/// `POST /v2/nodes/{node_id}/certificate`: a node renews its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CertificateRequest {
    /// A certificate signing request (PKCS #10).
    #[cfg_attr(feature = "openapi", schema(value_type = String, max_length = 16384))]
    pub csr: PemText,
}

impl CertificateRequest {
    /// A request for the next certificate.
    #[must_use]
    pub fn new(csr: PemText) -> Self {
        Self { csr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: JOIN-12, JOIN-30
    #[test]
    fn secrets_are_not_shown_and_texts_are_bounded() {
        let request = r#"{"token":"canary-9f8e","node_id":"a","address":"https://10.0.0.7:9200"}"#;
        let request: JoinRequest = serde_json::from_str(request).unwrap();
        assert_eq!(request.csr, None);
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<JoinRequest>(&text).unwrap(), request);
        let long = format!("{{\"csr\":\"{}\"}}", "x".repeat(MAX_PEM_BYTES + 1));
        let error = serde_json::from_str::<CertificateRequest>(&long).unwrap_err();
        assert!(
            error.to_string().starts_with("csr must have at most"),
            "{error}"
        );
        assert!(SecretText::new("x".repeat(MAX_SECRET_BYTES + 1)).is_err());
    }

    // spec: JOIN-36
    #[test]
    fn a_challenge_is_read_as_it_was_written_and_has_one_form() {
        let challenge = Challenge::new([7; 16]);
        let text = serde_json::to_string(&challenge).unwrap();
        assert_eq!(serde_json::from_str::<Challenge>(&text).unwrap(), challenge);
        assert_eq!(
            challenge.line(),
            format!("llorch-join {}\n", "07".repeat(16))
        );
        for wrong in [
            "",
            "07",
            &"0F".repeat(16),
            &"07".repeat(17),
            &"é".repeat(16),
        ] {
            let error = Challenge::try_from(wrong.to_owned()).unwrap_err();
            assert!(
                error.to_string().starts_with("challenge must be 32"),
                "{error}"
            );
        }
    }
}
