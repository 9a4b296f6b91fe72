-- want: ran out of
plugin { id = "attack", needs = { read = "body" },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  while true do
    for chunk in m.content:chunks(1) do end
  end
end
