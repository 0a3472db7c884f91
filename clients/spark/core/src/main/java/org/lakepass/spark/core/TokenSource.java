package org.lakepass.spark.core;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Objects;

/**
 * Where the user's token comes from. It is read anew for each question to the broker, because a file may change while
 * a job runs. {@code toString} names the source and never shows the token.
 */
abstract class TokenSource {
  private static final int MAX_TOKEN_BYTES = 16 * 1024;

  /** A token written into the settings. */
  static TokenSource literal(String token) {
    return new Literal(token);
  }

  /** A file that holds a token, white space around it aside. */
  static TokenSource file(String path) {
    return new InFile(path);
  }

  /** A variable of this process's environment. */
  static TokenSource environment(String variable) {
    return new InEnvironment(variable);
  }

  /** The token as it is now. Visible ASCII, not empty. */
  abstract String read() throws LakepassException;

  /** How the user puts a new token where this one comes from: the end of a sentence. */
  abstract String howToReplace();

  /** Tells sources apart: two that are equal give the same token. */
  abstract String identity();

  @Override
  public final boolean equals(Object other) {
    return other != null
        && getClass() == other.getClass()
        && identity().equals(((TokenSource) other).identity());
  }

  @Override
  public final int hashCode() {
    return Objects.hash(getClass(), identity());
  }

  /** Refuses what cannot be a header's value: the HTTP client would quote it in its message. */
  private static String checked(String text, TokenSource source) throws LakepassException {
    String token = text.trim();
    if (token.isEmpty()) {
      throw LakepassException.refused("There is no token in " + source + ": log in, and " + source.howToReplace() + ".");
    }
    if (token.length() > MAX_TOKEN_BYTES || !token.chars().allMatch(c -> c >= ' ' && c <= '~')) {
      throw LakepassException.refused("What is in " + source + " is not a token: " + source.howToReplace() + ".");
    }
    return token;
  }

  private static final class Literal extends TokenSource {
    private final String token;

    Literal(String token) {
      this.token = token;
    }

    @Override
    String read() throws LakepassException {
      return checked(token, this);
    }

    @Override
    String howToReplace() {
      return "start a session with it in " + Settings.PREFIX + "token (a token in a file can be replaced while a session runs)";
    }

    @Override
    String identity() {
      return token;
    }

    @Override
    public String toString() {
      return Settings.PREFIX + "token";
    }
  }

  private static final class InFile extends TokenSource {
    private final String path;

    InFile(String path) {
      this.path = path;
    }

    @Override
    String read() throws LakepassException {
      try (InputStream file = Files.newInputStream(Path.of(path))) {
        return checked(new String(file.readNBytes(MAX_TOKEN_BYTES + 1), StandardCharsets.UTF_8), this);
      } catch (NoSuchFileException e) {
        throw LakepassException.refused("There is no file " + path + " (" + Settings.PREFIX + "token.file) on this machine: "
            + howToReplace() + ".");
      } catch (IOException | SecurityException e) {
        throw LakepassException.refused("Cannot read the token from " + this + ": " + e + ".");
      }
    }

    @Override
    String howToReplace() {
      return "write a token into " + path + " (it is read again by itself)";
    }

    @Override
    String identity() {
      return path;
    }

    @Override
    public String toString() {
      return "the file " + path;
    }
  }

  private static final class InEnvironment extends TokenSource {
    private final String variable;

    InEnvironment(String variable) {
      this.variable = variable;
    }

    @Override
    String read() throws LakepassException {
      String token = System.getenv(variable);
      return checked(token == null ? "" : token, this);
    }

    @Override
    String howToReplace() {
      return "start the process with it in the environment variable " + variable
          + " (a token in a file can be replaced while a session runs)";
    }

    @Override
    String identity() {
      return variable;
    }

    @Override
    public String toString() {
      return "the environment variable " + variable;
    }
  }
}
