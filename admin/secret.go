package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// secretPrefix marks an access token, so that scanners find one that leaked.
const secretPrefix = "bt_"

// secretBytes is the entropy of a token's secret.
const secretBytes = 32

// NewToken makes the secret of an access token and the digest that stands for
// it everywhere but in the answer that hands it out.
func NewToken() (secret string, digest [32]byte) {
	var b [secretBytes]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, TokenDigest(secret)
}

// TokenDigest returns the digest a secret is stored under. The secrets are long
// and random, so a plain hash is enough: there is no dictionary to try.
func TokenDigest(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
