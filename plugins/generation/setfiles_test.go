package generation

import (
	"strings"
	"testing"
)

// withFiles has a plugin that answers with what its file holds, and refuses a rule without a word.
func withFiles(s *site, setting string) {
	s.write("stagepost.toml", base+"\n[plugin.vip]\n"+setting)
	s.write("plugins/vip/plugin.toml", "id = \"vip\"\nversion = \"1.0.0\"\n[config.rules]\ntype = \"file\"\ndefault = \"file:own.toml\"\n[hook.rcpt]\n")
	s.write("plugins/vip/own.toml", "# its own\n[[rule]]\nword = \"own\"\n")
	s.write("plugins/vip/init.lua", `local said = "no file"
if config.rules then
  local r = config.rules.rule[1]
  if not r.word then error(r.file .. ":" .. r.line .. ": the rule has no word", 0) end
  said = r.word .. " " .. r.file .. " " .. r.line .. " " .. config.rules.file .. " " .. config.rules.line
end
function on.rcpt() return reject(said) end
`)
}

// A setting may be a file: one in the plugin's folder, one beside the configuration, or a table in it.
func TestSetFiles(t *testing.T) {
	for _, c := range []struct{ setting, file, want string }{
		{"", "", "own own.toml 2 own.toml 1"},
		{`rules = "file:rules.toml"`, "\n\n[[rule]]\nword = \"mine\"\n", "mine rules.toml 3 rules.toml 1"},
		{`rules = ""`, "", "no file"},
		{"[[plugin.vip.rules.rule]]\nword = \"here\"\n", "", "here stagepost.toml 11 stagepost.toml 11"},
	} {
		s := newSite(t)
		withFiles(s, c.setting)
		if c.file != "" {
			s.write("rules.toml", c.file)
		}
		s.mustOpen()
		got := s.says()
		if strings.HasPrefix(got, "here ") { // the configuration is called by its path
			f := strings.Fields(got)
			got = strings.Join([]string{f[0], f[1][strings.LastIndexByte(f[1], '/')+1:], f[2], f[3][strings.LastIndexByte(f[3], '/')+1:], f[4]}, " ")
		}
		if got != c.want {
			t.Errorf("%s: it says %q, want %q", c.setting, got, c.want)
		}
	}
}

// A file that changes makes a new generation; what is wrong in it is told with its line, and the old one stays.
func TestSetFileChanges(t *testing.T) {
	s := newSite(t)
	withFiles(s, `rules = "file:rules.toml"`)
	s.write("rules.toml", "[[rule]]\nword = \"one\"\n")
	s.mustOpen()
	plugin := s.m.state.Load().loaded[0]
	if ch := s.reload(); ch.Changed || ch.Err != nil {
		t.Errorf("nothing changed: %+v", ch)
	}
	s.write("other.toml", "x = 1")
	s.write("rules.toml", "[[rule]]\nword = \"two\"\n")
	if ch := s.reload(); !ch.Changed || ch.Err != nil || !strings.HasPrefix(s.says(), "two ") || s.m.state.Load().loaded[0] == plugin {
		t.Errorf("%+v, it says %q", ch, s.says())
	}
	for _, bad := range []struct{ text, want string }{
		{"\n[[rule]]\nwrod = \"x\"\n", "rules.toml:2: the rule has no word (said by "},
		{"[[rule]\n", "rules.toml:1: this is not valid TOML: "},
		{"[[rule]]\nline = 3\n", "rules.toml:2: line: each table has that by itself; take it out"},
		{"", "stagepost.toml:11: plugin.vip.rules: rules.toml cannot be read: no such file"},
		{strings.Repeat("#", maxFile+1), "it is larger than 1048576 bytes, the most that is read"},
	} {
		if s.remove("rules.toml"); bad.text != "" {
			s.write("rules.toml", bad.text)
		}
		ch := s.reload()
		if ch.Err == nil || !strings.Contains(ch.Err.Error(), bad.want) || !strings.HasPrefix(s.says(), "two ") {
			t.Errorf("%.20q: %v, want %q; it says %q", bad.text, ch.Err, bad.want, s.says())
		}
	}
	s.write("rules.toml", "[[rule]]\nword = \"two\"\n")
	if ch := s.reload(); ch.Changed || ch.Err != nil {
		t.Errorf("taken back: %+v", ch)
	}
}

// The default is a file in the plugin's folder, and one that is not there is a mistake of the plugin.
func TestSetFileMissing(t *testing.T) {
	s := newSite(t)
	withFiles(s, "")
	s.remove("plugins/vip/own.toml")
	if err := s.open(); err == nil || !strings.Contains(err.Error(), "plugins/vip/plugin.toml:3: config.rules: there is no file own.toml in the plugin's folder") {
		t.Error(err)
	}
}

// Events of the file are enough for it to be read.
func TestSetFileWatched(t *testing.T) {
	s := watched(t, func(s *site) {
		withFiles(s, `rules = "file:rules.toml"`)
		s.write("rules.toml", "[[rule]]\nword = \"one\"\n")
	})
	s.until("one rules.toml 1 rules.toml 1")
	s.write("rules.toml", "\n[[rule]]\nword = \"two\"\n")
	s.until("two rules.toml 2 rules.toml 1")
}
