// Package walfs makes a failed write-ahead log something that a process can speak of.
//
// Pebble takes a disk that fails in one of its writes as an error, a message or a panic with the error, all of
// which its caller can turn into its own. Not so where the disk fails while Pebble changes from one log to the next: it panics with
// its mutex unlocked and a deferred unlock ahead, which ends the process with a fatal error that nothing can recover,
// and with a stack in place of the reason. See rotateWAL in Pebble v2.1.7.
//
// A file system that Wrap returns tells of the failure by itself, and does not let Pebble see it. From then on, the
// invariant is: nothing that Pebble does changes what the disk holds. Writes to logs and syncs of directories seem to be done, so that
// Pebble goes on to where its caller can stop; all else fails with the failure. So the disk stays as a crash at the moment of the failure
// would have left it. The caller must not take a result of Pebble's as done before it has seen that there was no failure, or must not go on once it is told.
package walfs
