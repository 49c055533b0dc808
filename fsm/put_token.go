package fsm

func (t *txn) applyPutToken(c PutToken) *Error {
	k := c.Token
	if err := t.checkToken(&k); err != nil {
		return err
	}
	if old := t.s.tokenIDs[k.ID]; old != nil {
		if old.Digest == k.Digest {
			return nil
		}
		return conflict("token id %q is taken by another token; send the request again to get another id", k.ID)
	}
	if t.s.tokens[k.Digest] != nil {
		return conflict("another token has the same secret; make a new secret")
	}
	k.CreatedAt = t.s.now
	t.s.tokens[k.Digest], t.s.tokenIDs[k.ID] = &k, &k
	t.put(tokenKey(k.ID), &k)
	t.changes.c.Tokens = true
	t.audit(actionTokenCreate, k.Account, k.ID, nil, k.document())
	return nil
}

func (t *txn) checkToken(k *Token) *Error {
	var f faults
	f.id("id", k.ID)
	f.name("name", k.Name)
	switch k.Role {
	case RoleRoot, RoleAdmin, RoleAuditor, RoleService:
	default:
		f.add("role", "is %q; use root, admin, auditor or service", k.Role)
	}
	if k.Account != "" && t.s.accounts[k.Account] == nil {
		f.add("account", "is %q, which does not exist; create it first, or leave it out for all accounts", k.Account)
	}
	if k.Digest == [32]byte{} {
		f.add("digest", "is empty; send the SHA-256 of the secret")
	}
	if k.ExpiresAt != 0 && k.ExpiresAt <= t.s.now && t.s.tokenIDs[k.ID] == nil {
		f.add("expires_at", "is in the past; choose a later time, or null for never")
	}
	return f.err()
}

func (t *txn) applyDeleteToken(c DeleteToken) *Error {
	k := t.s.tokenIDs[c.ID]
	if k == nil {
		return notFound("no token has the id %q", c.ID)
	}
	if k.master(t.s.now) && t.masters() == 1 {
		return conflict("token %q is the last root token of the whole cluster; create another before deleting it, or nobody could administer the cluster", c.ID)
	}
	delete(t.s.tokens, k.Digest)
	delete(t.s.tokenIDs, k.ID)
	t.del(tokenKey(k.ID))
	t.changes.c.Tokens = true
	t.audit(actionTokenDelete, k.Account, k.ID, k.document(), nil)
	return nil
}

// master reports whether the token can do everything, in every account, at the time.
func (k *Token) master(now int64) bool {
	return k.Role == RoleRoot && k.Account == "" && (k.ExpiresAt == 0 || k.ExpiresAt > now)
}

func (t *txn) masters() int {
	n := 0
	for _, k := range t.s.tokenIDs {
		if k.master(t.s.now) {
			n++
		}
	}
	return n
}
