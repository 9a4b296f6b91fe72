-- want: re.match
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  assert(not pcall(re.match, "((((a{100}){100}){100}){100})", "a"))
  assert(not pcall(re.match, ("a?"):rep(500) .. ("a"):rep(500), ("a"):rep(1e6)))
  re.match("(" , "a")
end
