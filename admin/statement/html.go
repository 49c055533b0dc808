package statement

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"github.com/bursar-dev/bursar/client"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// HTML writes a statement as one HTML document, made to be printed on A4 or Letter.
func HTML(w io.Writer, s *client.Statement, in *time.Location) error {
	return pageTemplate.Execute(w, newPage(s, in))
}
