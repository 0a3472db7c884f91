package org.lakepass.spark.core;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;

/** Everything that is logged while it is open, at every level. */
public final class Logs extends Handler implements AutoCloseable {
  private static final Logger OURS = Logger.getLogger("org.lakepass");

  private final List<String> lines = new CopyOnWriteArrayList<>();
  private final SimpleFormatter formatter = new SimpleFormatter();
  private final Level before = OURS.getLevel();

  public Logs() {
    setLevel(Level.ALL);
    OURS.setLevel(Level.ALL);
    OURS.addHandler(this);
  }

  @Override
  public void publish(LogRecord record) {
    // With the stack trace, if there is one.
    lines.add(formatter.format(record));
  }

  public String text() {
    return String.join("", lines);
  }

  public long count(String part) {
    return lines.stream().filter(line -> line.contains(part)).count();
  }

  @Override
  public void flush() {}

  @Override
  public void close() {
    OURS.removeHandler(this);
    OURS.setLevel(before);
  }
}
