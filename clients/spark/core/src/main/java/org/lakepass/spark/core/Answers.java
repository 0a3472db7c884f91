package org.lakepass.spark.core;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.Optional;

/** Reads the broker's JSON. An answer's body holds secrets, so no message quotes it, and no cause that might is kept. */
final class Answers {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int MAX_MESSAGE_CHARS = 500;

  private Answers() {}

  /** @throws LakepassException if these are no keys */
  static SessionKeys keys(byte[] body) throws LakepassException {
    JsonNode json = parse(body).orElseThrow(() -> LakepassException.passing("it answered with something that is not JSON"));
    OffsetDateTime expiration;
    try {
      expiration = OffsetDateTime.parse(text(json, "Expiration"));
    } catch (DateTimeException e) {
      throw LakepassException.passing("it answered with keys whose Expiration is not a time");
    }
    return new SessionKeys(
        text(json, "AccessKeyId"), text(json, "SecretAccessKey"), text(json, "Token"), expiration.toInstant());
  }

  /** What a refusal says for people to read; empty if it says nothing. */
  static String refusal(byte[] body) {
    JsonNode json = parse(body).orElse(null);
    if (json == null) {
      return "";
    }
    String message = json.path("message").asText(json.path("detail").asText(""));
    String line = message.replaceAll("\\p{Cntrl}+", " ").trim();
    return line.length() > MAX_MESSAGE_CHARS ? line.substring(0, MAX_MESSAGE_CHARS) + "…" : line;
  }

  private static String text(JsonNode json, String name) throws LakepassException {
    JsonNode value = json.path(name);
    if (!value.isTextual() || value.textValue().isEmpty()) {
      throw LakepassException.passing("it answered without " + name);
    }
    return value.textValue();
  }

  private static Optional<JsonNode> parse(byte[] body) {
    try {
      JsonNode json = JSON.readTree(body);
      return json != null && json.isObject() ? Optional.of(json) : Optional.empty();
    } catch (JsonProcessingException e) {
      // Some versions of Jackson quote the text in this exception.
      return Optional.empty();
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
