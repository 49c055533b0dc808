package fsm

// Bodies that their owner has not written yet. Each moves to a file of its own.

func (t *txn) applyPutAccount(c PutAccount) *Error             { panic("unwritten") }
func (t *txn) applyFreezeAccount(c FreezeAccount) *Error       { panic("unwritten") }
func (t *txn) applyPutEntityTypes(c PutEntityTypes) *Error     { panic("unwritten") }
func (t *txn) applyPutCapabilities(c PutCapabilities) *Error   { panic("unwritten") }
func (t *txn) applyPutEntities(c PutEntities) *Error           { panic("unwritten") }
func (t *txn) applyArchiveEntity(c ArchiveEntity) *Error       { panic("unwritten") }
func (t *txn) applyMoveEntity(c MoveEntity) *Error             { panic("unwritten") }
func (t *txn) applyPutAssignments(c PutAssignments) *Error     { panic("unwritten") }
func (t *txn) applyDeleteAssignment(c DeleteAssignment) *Error { panic("unwritten") }
func (t *txn) applyPutToken(c PutToken) *Error                 { panic("unwritten") }
func (t *txn) applyDeleteToken(c DeleteToken) *Error           { panic("unwritten") }
