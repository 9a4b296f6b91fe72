-- want: attack.lua:8: saved is a local of the main chunk
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

local saved

function on.rcpt(r)
  saved = saved or reject "carried"
  return saved
end
