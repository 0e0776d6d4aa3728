package conform

import (
	"html/template"
	"io"
)

// HTML writes it as one page that needs nothing else: no script, no font, no picture, no address.
func (r *Report) HTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Report
		Words string
	}{r, r.Target.words()})
}

var page = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Copy conformance: {{.Target.Name}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
.mark { white-space: nowrap; font-weight: 600; }
.conforms { color: #1a7f37; } .differs { color: #cf222e; } .not { color: #777; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .4rem 0 1.4rem; }
dt { color: #777; } dd { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; }
</style>
</head>
<body>
<h1>Copy conformance: {{.Target.Name}}</h1>
<p>{{.Words}}. Seed {{.Seed}}.</p>
<p><span class="mark conforms">{{.Conform}} conform</span>, <span class="mark differs">{{.Differ}} differ</span>, <span class="mark not">{{.Skipped}} not applicable</span>.
{{- if not .Complete}} <strong class="differs">The suite was not run to its end.</strong>{{end}}</p>
{{with .Around}}<p class="{{if .Untouched}}conforms{{else}}differs{{end}}">Surroundings of the region: {{.Words}}</p>
{{end}}{{if .Differ}}<h2>What differs</h2>
{{range .Results}}{{if eq .Outcome "differs"}}<h3 id="{{.Name}}"><code>{{.Name}}</code></h3>
<dl><dt>expected</dt><dd>{{.Expect}}</dd><dt>happened</dt><dd class="differs">{{.Happened}}</dd><dt>why it matters</dt><dd>{{.Why}}</dd><dt>rule</dt><dd>{{.Ref}}</dd><dt>judged by</dt><dd>{{.Judged}}</dd></dl>
{{end}}{{end}}{{end}}<h2>All scenarios</h2>
<table>
<tr><th>Scenario</th><th>Outcome</th><th>Expected, or why not applicable</th></tr>
{{range .Results}}<tr><td><code>{{.Name}}</code></td><td class="mark {{if eq .Outcome "conforms"}}conforms{{else if eq .Outcome "differs"}}differs{{else}}not{{end}}">{{.Outcome}}</td><td>{{if eq .Outcome "not applicable"}}{{.Happened}}{{else}}{{.Expect}}{{end}}</td></tr>
{{end}}</table>
</body>
</html>
`))
