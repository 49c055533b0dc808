package fsm

func (t *txn) applyReconcile(c *Reconcile) [][]Grant { panic("unwritten") }
func (t *txn) applyInit(c Init) *Error               { panic("unwritten") }
func (t *txn) applyAdmitNode(c AdmitNode) *Error     { panic("unwritten") }
func (t *txn) applyRemoveNode(c RemoveNode) *Error   { panic("unwritten") }
func (t *txn) applyBootNode(c BootNode) *Error       { panic("unwritten") }
func (t *txn) applyDeadNode(c DeadNode) *Error       { panic("unwritten") }
func (t *txn) applyRecoverNode(c RecoverNode) *Error { panic("unwritten") }
func (t *txn) applyDrainNode(c DrainNode) *Error     { panic("unwritten") }
func (t *txn) applyForfeit(c Forfeit) *Error         { panic("unwritten") }

type releases struct{}
type obligation struct{}
