package stagepost

import (
	"fmt"
	"time"
)

// Settings are what stands under [plugin.NAME], with the defaults of plugin.toml filled in. The server has checked them against its config: asking for a
// name or a type that is not declared there is a mistake of the plugin, and ends the handler, or refuses to load.
type Settings map[string]any

var settings Settings

// Config are the plugin's settings. They are there from OnLoad on, not in init.
func Config() Settings { return settings }

func setting[T any](s Settings, name, want string) T {
	v, ok := s[name].(T)
	if !ok && s[name] != nil {
		panic(fmt.Sprintf("the setting %s is a %T, not %s", name, s[name], want))
	}
	return v
}

// Text is a setting of type string, or "" if it is not set.
func (s Settings) Text(name string) string { return setting[string](s, name, "a string") }

// Bool is a setting of type bool.
func (s Settings) Bool(name string) bool { return setting[bool](s, name, "a bool") }

// Int is a setting of type int or size, which is in bytes.
func (s Settings) Int(name string) int { return int(setting[int64](s, name, "an int")) }

// Duration is a setting of type duration.
func (s Settings) Duration(name string) time.Duration {
	return time.Duration(number(s[name]) * float64(time.Second))
}

// List is a setting of type list.
func (s Settings) List(name string) []string {
	var list []string
	for _, e := range setting[[]any](s, name, "a list") {
		list = append(list, as[string](e))
	}
	return list
}

// Map is a setting of type map.
func (s Settings) Map(name string) map[string]any { return setting[map[string]any](s, name, "a map") }
