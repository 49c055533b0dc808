package fsm

// account returns the account a command names, or the rejection.
func (t *txn) account(id string) (*tenant, *Error) {
	if tn := t.s.accounts[id]; tn != nil {
		return tn, nil
	}
	return nil, notFound("no account is called %q; create it with PUT /v1/accounts/{account}", id)
}

func (t *txn) applyPutAccount(c PutAccount) *Error {
	var f faults
	f.id("account", c.ID)
	f.name("name", c.Name)
	if _, err := loadZone(c.Timezone); err != nil {
		f.add("timezone", "is %q, which the IANA time zone database does not have; use a name like Europe/Berlin or UTC", c.Timezone)
	}
	if err := f.err(); err != nil {
		return err
	}
	tn := t.s.accounts[c.ID]
	if tn == nil {
		t.createAccount(c)
		return nil
	}
	if c.Timezone == "" {
		c.Timezone = tn.Timezone
	}
	switch {
	case tn.Name == c.Name && tn.Timezone == c.Timezone:
		return nil
	case tn.Timezone != c.Timezone && tn.ledgerSeq > 0:
		err := conflict("the time zone of account %q is %q and its usage of %d lines is summed by it; it can be changed only before the first line", c.ID, tn.Zone(), tn.ledgerSeq)
		err.Numbers = map[string]int64{"lines": int64(tn.ledgerSeq)}
		return err
	}
	from := tn.Account
	to := from
	to.Name, to.Timezone, to.UpdatedAt = c.Name, c.Timezone, t.s.now
	delete(t.s.rollups.latest, c.ID)
	t.storeAccount(tn, to)
	root := tn.entities[c.ID].Entity
	root.Name, root.UpdatedAt = c.Name, t.s.now
	t.storeEntity(tn, &root)
	t.audit(actionAccountPut, c.ID, c.ID, from.document(), to.document())
	return nil
}

// createAccount creates an account and its root entity, which bears the account's name.
func (t *txn) createAccount(c PutAccount) {
	a := Account{ID: c.ID, Name: c.Name, Timezone: c.Timezone, CreatedAt: t.s.now, UpdatedAt: t.s.now}
	tn := newTenant(a)
	t.s.accounts[c.ID] = tn
	t.storeAccount(tn, a)
	t.storeEntity(tn, &Entity{Account: c.ID, ID: c.ID, Type: TypeAccount, Name: c.Name, CreatedAt: t.s.now, UpdatedAt: t.s.now})
	t.audit(actionAccountPut, c.ID, c.ID, nil, a.document())
}

func (t *txn) applyFreezeAccount(c FreezeAccount) *Error {
	tn, err := t.account(c.ID)
	if err != nil {
		return err
	}
	if tn.Frozen == c.Frozen {
		return nil
	}
	from := tn.Account
	to := from
	to.Frozen, to.UpdatedAt = c.Frozen, t.s.now
	t.storeAccount(tn, to)
	action := actionAccountFreeze
	if !c.Frozen {
		action = actionAccountUnfreeze
	}
	t.audit(action, c.ID, c.ID, from.document(), to.document())
	return nil
}

func (t *txn) storeAccount(tn *tenant, a Account) {
	tn.Account = a
	t.put(accountKey(a.ID), &a)
	t.changes.account(a.ID)
}
