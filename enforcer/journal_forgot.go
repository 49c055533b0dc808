package enforcer

import (
	"errors"
	iofs "io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// forgotName is an empty file in the journal's directory. It stands from the start
// after a crash of the machine until every other node has been asked what it has
// drawn here, however often the process ends meanwhile.
const forgotName = "forgot"

// markForgot makes it durable that draws may be missing from the journal.
func (j *journal) markForgot() error {
	f, err := j.fs.Create(j.fs.PathJoin(j.dir, forgotName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(j.fs, j.dir))
}

// forgot reports whether draws may be missing.
func (j *journal) forgot() (bool, error) {
	_, err := j.fs.Stat(j.fs.PathJoin(j.dir, forgotName))
	if errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// remembered says that no draw is missing any more.
func (j *journal) remembered() error {
	return errors.Join(j.fs.Remove(j.fs.PathJoin(j.dir, forgotName)), syncDir(j.fs, j.dir))
}
