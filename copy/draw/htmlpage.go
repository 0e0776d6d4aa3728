package draw

import (
	"html/template"

	"github.com/ublk-go/ublk-linear/copy/series"
)

// What the page's template is given.
type (
	pageView struct {
		Title, Code         string
		Count               int
		Source, Destination deviceView
		Same                bool
		Picture             template.HTML
		Designs             []designView
	}
	deviceView struct {
		Name  string
		Lines []string
	}
	designView struct {
		Model                  *series.Model
		Outcome                *series.Outcome
		Answer                 string
		Good                   bool
		Picture                template.HTML
		Commands               []commandView
		Bios                   []series.Bio
		MoreCommands, MoreBios int
		Wrong                  []findingView
	}
	commandView struct {
		N                   int
		Method, Dst, Status string
		Sources             []string
	}
	findingView struct {
		series.Finding
		What, Ref string
	}
)

// page is escaped by its context, whatever names say.
var page = template.Must(template.New("page").Funcs(template.FuncMap{"size": size, "inc": func(i int) int { return i + 1 }}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<style>
:root{--fg:#1f2328;--dim:#59636e;--bg:#fff;--soft:#f6f8fa;--line:#d1d9e0;--good:#1a7f37;--bad:#cf222e;--link:#0969da}
@media (prefers-color-scheme:dark){:root{--fg:#f0f6fc;--dim:#9198a1;--bg:#0d1117;--soft:#151b23;--line:#3d444d;--good:#3fb950;--bad:#ff7b72;--link:#4493f8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1280px;padding:16px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
h1{font-size:1.35rem;line-height:1.3;margin:.2em 0 .6em;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0;overflow-wrap:anywhere}h3{font-size:.95rem;margin:1.2em 0 .3em}
p{margin:.4em 0}a{color:var(--link)}code,pre,td.n,td.m{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.86em}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:8px 10px;margin:.3em 0;overflow-x:auto}
.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:0 16px}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--dim);font-size:.85em;white-space:nowrap}td.n{text-align:right;white-space:nowrap}th.n{text-align:right}
td.n{padding-right:16px}td.m{overflow-wrap:break-word}
section{border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:18px 0}
.head{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline}
.by,.dim{color:var(--dim);font-size:.88em;overflow-wrap:anywhere}
.badge{display:inline-block;border-radius:99px;padding:1px 10px;font-size:.82em;font-weight:600;border:1px solid currentColor;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
ul.wrong{margin:.3em 0;padding-left:1.2em}ul.wrong li{margin:.35em 0;overflow-wrap:anywhere}
details{margin:.7em 0}summary{cursor:pointer;color:var(--link)}
svg{display:block;width:100%;height:auto}.narrow{display:none}
@media (max-width:640px){body{padding:10px}.wide{display:none}.narrow{display:block}section{padding:10px 12px}
table.over,table.over tbody{display:block}table.over thead{display:none}
table.over tr{display:grid;grid-template-columns:1fr 1fr;border-bottom:1px solid var(--line);padding:6px 0}
table.over td{border:0;padding:1px 0;text-align:left}table.over td:nth-child(-n+2){grid-column:1/-1}table.over td::before{content:attr(data-l) " ";color:var(--dim);font-family:system-ui,sans-serif}}
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<div class="tables">
<div><p class="dim">{{if .Same}}device{{else}}source{{end}} {{.Source.Name}}</p><pre>{{range .Source.Lines}}{{.}}
{{end}}</pre></div>
{{if not .Same}}<div><p class="dim">destination {{.Destination.Name}}</p><pre>{{range .Destination.Lines}}{{.}}
{{end}}</pre></div>{{end}}
</div>
{{.Picture}}
{{if .Designs}}
<h3>{{len .Designs}} design{{if ne .Count 1}}s{{end}}{{with .Code}}, {{.}}{{end}}</h3>
<table class="over">
<thead><tr><th>design</th><th>answer</th><th class="n">bios</th><th class="n">commands</th><th class="n">offloaded</th><th class="n">emulated</th><th class="n">through the host</th><th class="n">caller is told</th></tr></thead>
<tbody>{{range .Designs}}
<tr><td data-l=""><a href="#{{.Model.Name}}">{{.Model.Name}}</a></td><td data-l="answer"><span class="{{if .Good}}good{{else}}bad{{end}}">{{.Answer}}{{if .Wrong}}, {{len .Wrong}} wrong{{end}}</span></td>
<td class="n" data-l="bios">{{len .Outcome.Bios}}</td><td class="n" data-l="commands">{{len .Outcome.Commands}}</td><td class="n" data-l="offloaded">{{size .Outcome.Offloaded}}</td>
<td class="n" data-l="emulated">{{size .Outcome.Emulated}}</td><td class="n" data-l="host">{{size .Outcome.Host}}</td><td class="n" data-l="told">{{if .Outcome.Never}}nothing{{else}}{{size .Outcome.Bytes}}{{end}}</td></tr>{{end}}
</tbody></table>
{{end}}
{{range .Designs}}
<section id="{{.Model.Name}}">
<div class="head"><h2>{{.Model.Title}}</h2><span class="badge {{if .Good}}good{{else}}bad{{end}}">{{.Answer}}{{if .Wrong}}, {{len .Wrong}} wrong{{end}}</span></div>
<p class="by"><code>{{.Model.Name}}</code>{{with .Model.Author}}, {{.}}{{end}}{{with .Model.Posted}}, {{.}}{{end}}{{with .Model.Message}}, <a href="https://lore.kernel.org/r/{{.}}">{{.}}</a>{{end}}</p>
{{with .Outcome.Why}}<p>{{.}}</p>{{end}}
{{if .Wrong}}<h3 class="bad">What goes wrong</h3>
<ul class="wrong">{{range .Wrong}}<li>{{.Text}}{{if .What}}<br><span class="dim">{{with .Defect}}<code>{{.}}</code>: {{end}}{{.What}}{{with .Ref}} ({{.}}){{end}}</span>{{else}}{{with .Defect}} <code>{{.}}</code>{{end}}{{end}}</li>{{end}}</ul>{{end}}
{{if .Outcome.Limits}}<h3>Limits that the destination advertises</h3>
<p>{{range $i, $v := .Outcome.Limits}}{{if $i}}; {{end}}<code>{{$v.Name}}</code> {{$v.Value}} {{$v.Unit}}{{end}}</p>{{end}}
{{if .Outcome.CompLen}}<p>comp_len: <code>{{.Outcome.CompLen}}</code></p>{{end}}
{{with .Picture}}<details><summary>its commands, drawn</summary>{{.}}</details>{{end}}
{{if .Bios}}<h3>Bios, in order</h3>
<div class="scroll" tabindex="0"><table><thead><tr><th class="n">#</th><th>op</th><th>device</th><th class="n">sector</th><th class="n">sectors</th><th>note</th></tr></thead><tbody>{{range $i, $b := .Bios}}
<tr><td class="n">{{inc $i}}</td><td class="m">{{$b.Op}}</td><td class="m">{{$b.Device}}</td><td class="n">{{$b.Sector}}</td><td class="n">{{$b.Sectors}}</td><td>{{$b.Note}}</td></tr>{{end}}
</tbody></table></div>{{with .MoreBios}}<p class="dim">and {{.}} more</p>{{end}}{{end}}
{{if .Commands}}<h3>Commands, in the order sent</h3>
<div class="scroll" tabindex="0"><table><thead><tr><th class="n">#</th><th>method</th><th>destination</th><th>sources</th><th>answer</th></tr></thead><tbody>{{range .Commands}}
<tr><td class="n">{{.N}}</td><td>{{.Method}}</td><td class="m">{{.Dst}}</td><td class="m">{{range $i, $s := .Sources}}{{if $i}}, {{end}}{{$s}}{{end}}</td><td{{if ne .Status "ok"}} class="bad"{{end}}>{{.Status}}</td></tr>{{end}}
</tbody></table></div>{{with .MoreCommands}}<p class="dim">and {{.}} more</p>{{end}}{{else}}<p class="dim">No command is sent.</p>{{end}}
</section>
{{end}}
<p class="dim">Places are DISK:SECTOR+SECTORS, of 512 bytes.</p>
</main>
</body>
</html>
`))
