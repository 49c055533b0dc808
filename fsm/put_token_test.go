package fsm

import "testing"

func token(id string, digest byte, edit ...func(*Token)) PutToken {
	k := Token{ID: id, Name: id, Role: RoleRoot, Digest: [32]byte{digest}}
	for _, f := range edit {
		f(&k)
	}
	return PutToken{k}
}

func (d *desk) tokenOf(digest byte) (k *Token) {
	d.m.View(func(v *View) { k = v.TokenByDigest([32]byte{digest}) })
	return k
}

func TestTokensAreFoundByDigest(t *testing.T) {
	d := newAcme(t)
	d.must(token("tok_1", 1))
	if !d.seen.Tokens {
		t.Error("the observer was not told")
	}
	if k := d.tokenOf(1); k == nil || k.ID != "tok_1" || k.CreatedAt != d.now {
		t.Errorf("%+v", k)
	}
	d.idle(token("tok_1", 1))
	d.refuse(CodeConflict, token("tok_1", 2)) // the id of another
	d.refuse(CodeConflict, token("tok_2", 1)) // the secret of another
	d.must(token("tok_2", 2))
	d.must(DeleteToken{ID: "tok_1"})
	if d.tokenOf(1) != nil || d.tokenOf(2) == nil {
		t.Error("the wrong one was deleted")
	}
	d.must(token("tok_3", 1)) // free again
}

func TestTheLastRootTokenOfTheClusterStays(t *testing.T) {
	d := newAcme(t)
	d.must(token("tok_1", 1))
	d.must(token("tok_admin", 2, func(k *Token) { k.Role = RoleAdmin }))
	d.must(token("tok_acme", 3, func(k *Token) { k.Account = "acme" }))
	d.must(token("tok_brief", 4, func(k *Token) { k.ExpiresAt = d.now + 5000 }))
	d.must(DeleteToken{ID: "tok_admin"})
	d.now += 5000
	d.refuse(CodeConflict, DeleteToken{ID: "tok_1"}) // those left are of one account, or expired
	if d.tokenOf(4) == nil {
		t.Error("an expired token is gone before it was deleted")
	}
	d.idle(token("tok_brief", 4, func(k *Token) { k.ExpiresAt = d.now - 1 })) // a repeat of what was stored
	d.must(DeleteToken{ID: "tok_brief"})
	d.must(DeleteToken{ID: "tok_acme"})
	d.must(token("tok_2", 5))
	d.must(DeleteToken{ID: "tok_1"})
	d.refuse(CodeConflict, DeleteToken{ID: "tok_2"})
}
