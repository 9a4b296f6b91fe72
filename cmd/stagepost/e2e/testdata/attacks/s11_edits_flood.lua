-- want: edits
plugin { id = "attack", needs = { edit = { "headers" } },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  for i = 1, 1e6 do m:add_header("X-" .. i, "v") end
end
